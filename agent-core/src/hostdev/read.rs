//! From a text to the machines that it describes.

use super::machine::{Display, Entry, List, Machine, Wanted, Written};
use crate::permit::{
    DOCUMENT_MAX, Notice, Position, Problem,
    fields::Field,
    finding::good,
    yaml::{self, Value},
};
use std::collections::BTreeMap;

/// What a text describes, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Machines {
    /// The machines, in the order of the text. One that has a problem is there as far as it could be read.
    pub machines: Vec<Machine>,
    /// What the API server would refuse, or what cannot be read.
    pub problems: Vec<Problem>,
    /// What is accepted and yet worth saying.
    pub notices: Vec<Notice>,
}

/// The kinds that hold a machine, and the way to its spec
/// (KubeVirt: `staging/src/kubevirt.io/api/core/v1/types.go`, `api/pool/v1beta1/types.go`).
const KINDS: [(&str, &[&str]); 4] = [
    ("VirtualMachineInstance", &["spec"]),
    ("VirtualMachine", &["spec", "template", "spec"]),
    ("VirtualMachineInstanceReplicaSet", &["spec", "template", "spec"]),
    ("VirtualMachinePool", &["spec", "virtualMachineTemplate", "spec", "template", "spec"]),
];

/// Reads YAML or JSON with any number of documents or lists of objects. Objects of other kinds are left alone.
///
/// # Errors
///
/// The text is no YAML, or no machine is in it.
pub fn machines(text: &str) -> Result<Machines, Problem> {
    if text.len() > DOCUMENT_MAX {
        let what = format!("the document is longer than {DOCUMENT_MAX} bytes");
        return Err(Problem::new(Position::START, "", what, "give the virtual machine alone"));
    }
    let documents = yaml::read(text)?;
    let documents: Vec<Field> = documents.iter().filter(|node| !node.is_null()).map(Field::root).collect();
    if documents.is_empty() {
        return Err(Problem::new(Position::START, "", "the document is empty", REMEDY));
    }
    let mut read = Machines::default();
    let mut others = Vec::new();
    for document in &documents {
        for object in objects(document, &mut read.problems) {
            if good(object.expect_map(), &mut read.problems).is_some() {
                read.object(&object, &mut others);
            }
        }
    }
    if read.machines.is_empty() && read.problems.is_empty() {
        others.dedup();
        let found = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
        let at = documents.first().map_or(Position::START, |document| document.node.at);
        return Err(Problem::new(at, "", format!("there is no virtual machine in it, only {found}"), REMEDY));
    }
    Ok(read)
}

const REMEDY: &str = "give a VirtualMachineInstance or a VirtualMachine";

/// The objects of a document: of a list its items, else itself.
fn objects(document: &Field, problems: &mut Vec<Problem>) -> Vec<Field> {
    let is_list = document.node.get_text("kind").is_some_and(|kind| kind.ends_with("List"));
    match document.get("items").filter(|_| is_list) {
        Some(items) => good(items.items(), problems).unwrap_or_default(),
        None => vec![document.clone()],
    }
}

impl Machines {
    fn object(&mut self, object: &Field, others: &mut Vec<String>) {
        let Some(kind) = object.node.get_text("kind") else {
            let problem = match object.get("spec") {
                Some(_) => object.problem("has no kind", "add kind: VirtualMachineInstance"),
                None => object.problem("is no virtual machine: it has no kind and no spec", REMEDY),
            };
            return self.problems.push(problem);
        };
        let Some((_, way)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            let like = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(kind));
            if let (Some((known, _)), Some(field)) = (like, object.get("kind")) {
                self.problems.push(field.bad_value("is not a kind of KubeVirt", format!("write {known}")));
            }
            return others.push(format!("a {kind}"));
        };
        if let Some(field) = object.get("spec").and_then(|spec| spec.get_some("instancetype")) {
            let what = "may add gpus and hostDevices of its own, which are not looked up";
            self.notices.push(field.problem(what, "add its entries to see the whole machine"));
        }
        let before = self.problems.len();
        if let Some(mut machine) = self.machine(object, kind, way) {
            machine.sound = self.problems.len() == before;
            self.machines.push(machine);
        }
    }

    fn machine(&mut self, object: &Field, kind: &str, way: &[&str]) -> Option<Machine> {
        let before = self.problems.len();
        let mut domain = object.clone();
        for key in way.iter().chain(&["domain"]) {
            domain = good(required(&domain, key), &mut self.problems)?;
        }
        let metadata = object.node.get("metadata");
        let word = |key| metadata.and_then(|metadata| metadata.get_text(key)).map(ToOwned::to_owned);
        let mut machine = Machine {
            kind: kind.to_owned(),
            namespace: word("namespace"),
            name: word("name").or_else(|| word("generateName")),
            at: object.node.at,
            domain: domain.path.clone(),
            entries: Vec::new(),
            limits: self.quantities(&domain, "limits"),
            requests: self.quantities(&domain, "requests"),
            graphics: true,
            sound: true,
        };
        let devices = domain.get_some("devices");
        if let Some(devices) = devices.filter(|devices| good(devices.expect_map(), &mut self.problems).is_some()) {
            let lists = List::ALL.map(List::field);
            self.misspelt(&devices, &lists);
            for list in List::ALL {
                self.list(&devices, list, &mut machine.entries);
            }
            let graphics = devices.get_some("autoattachGraphicsDevice").map(|field| field.boolean());
            machine.graphics = graphics.and_then(|value| good(value, &mut self.problems)).unwrap_or(true);
        }
        if machine.entries.is_empty() && self.problems.len() == before {
            let what = "asks for no host device: it has neither gpus nor hostDevices";
            self.notices.push(domain.problem(what, "add an entry to devices.gpus or devices.hostDevices"));
        }
        Some(machine)
    }

    fn list(&mut self, devices: &Field, list: List, entries: &mut Vec<Entry>) {
        let Some(field) = devices.get(list.field()) else { return };
        let items = good(field.items(), &mut self.problems).unwrap_or_default();
        for item in items {
            if good(item.expect_map(), &mut self.problems).is_some() {
                entries.extend(self.entry(&item, list));
            }
        }
    }

    /// One entry; `None` where it does not say what it wants.
    fn entry(&mut self, item: &Field, list: List) -> Option<Entry> {
        const KNOWN: [&str; 7] =
            ["name", "deviceName", "tag", "claimName", "requestName", "claimRequest", "virtualGPUOptions"];
        self.misspelt(item, &KNOWN);
        let name = good(required(item, "name").and_then(|field| words(&field)), &mut self.problems).unwrap_or_default();
        let claim = item.get_some("claimName").or_else(|| item.get_some("claimRequest"));
        let wanted = match (item.get_some("deviceName"), claim) {
            (Some(device), Some(_)) => {
                let what = "stands beside a resource claim: the device can come from one of the two only";
                self.problems.push(device.bad_value(what, "keep deviceName, or claimName and requestName"));
                return None;
            }
            (None, Some(claim)) => {
                let what = "takes the device from a resource claim, which is no matter of device plugins";
                self.notices.push(claim.problem(what, "it is left out here"));
                Wanted::Claim
            }
            (Some(device), None) => Wanted::Resource(good(resource(&device), &mut self.problems)?),
            (None, None) => {
                self.problems.push(Problem::new(
                    item.node.at,
                    format!("{}.deviceName", item.path),
                    "is missing",
                    "add the name of a permitted resource, as in deviceName: nvidia.com/TU104GL_Tesla_T4",
                ));
                return None;
            }
        };
        let display = self.display(item, list);
        Some(Entry { list, path: item.path.clone(), at: item.node.at, name, wanted, display })
    }

    fn display(&mut self, item: &Field, list: List) -> Option<Display> {
        let options = item.get_some("virtualGPUOptions")?;
        if list == List::HostDevices {
            let what = "is ignored: only entries of gpus have it";
            self.notices.push(options.problem(what, "move the entry to gpus if it is a vGPU with a display"));
            return None;
        }
        good(options.expect_map(), &mut self.problems)?;
        self.misspelt(&options, &["display"]);
        let display = options.get_some("display")?;
        good(display.expect_map(), &mut self.problems)?;
        self.misspelt(&display, &["enabled", "ramFB"]);
        let enabled = self.switch(&display);
        let ramfb = display.get_some("ramFB").filter(|field| good(field.expect_map(), &mut self.problems).is_some());
        Some(Display { enabled, ramfb: ramfb.and_then(|ramfb| self.switch(&ramfb)).unwrap_or(true) })
    }

    fn switch(&mut self, field: &Field) -> Option<bool> {
        let value = field.get_some("enabled")?.boolean();
        good(value, &mut self.problems)
    }

    /// What the API server drops without a word, though something was meant by it.
    fn misspelt(&mut self, field: &Field, known: &[&str]) {
        let near = field.unknown(known).into_iter().filter(|unknown| unknown.is_near);
        self.notices.extend(near.map(|unknown| {
            let mut notice = unknown.problem();
            notice.what = "is no field that KubeVirt knows there, and is dropped".to_owned();
            notice
        }));
    }

    /// The whole numbers of `resources.limits` or `.requests` with a `/` in their name.
    fn quantities(&mut self, domain: &Field, which: &str) -> BTreeMap<String, Written> {
        let mut found = BTreeMap::new();
        let Some(field) = domain.get_some("resources").and_then(|resources| resources.get_some(which)) else {
            return found;
        };
        let Value::Map(pairs) = &field.node.value else { return found };
        for (key, value) in pairs.iter().filter(|(key, _)| key.text.contains('/')) {
            let Value::Scalar { text, .. } = &value.value else { continue };
            match text.parse() {
                Ok(units) => _ = found.insert(key.text.clone(), Written { units, at: key.at }),
                Err(_) => self.problems.push(
                    Problem::new(
                        value.at,
                        format!("{}[{}]", field.path, key.text),
                        "is no whole number, as the quantity of an extended resource must be",
                        "write a whole number, or leave it out: virt-controller counts the entries",
                    )
                    .with_value(text),
                ),
            }
        }
        found
    }
}

/// The value of a key that must be there.
fn required(field: &Field, key: &str) -> Result<Field, Problem> {
    field.expect_map()?;
    field.get_some(key).ok_or_else(|| {
        let path = if field.path.is_empty() { key.to_owned() } else { format!("{}.{key}", field.path) };
        Problem::new(field.node.at, path, "is missing", format!("add {key}"))
    })
}

/// A text that is not blank.
fn words(field: &Field) -> Result<String, Problem> {
    let text = field.text()?;
    if text.trim().is_empty() {
        return Err(field.bad_value("is blank", "write a name"));
    }
    Ok(text.to_owned())
}

fn resource(field: &Field) -> Result<crate::permit::ResourceName, Problem> {
    field.text()?.parse().map_err(|why| {
        field.bad_value(
            format!("is not a resource that a pod can ask for: {why}"),
            "write a permitted resourceName, as in nvidia.com/TU104GL_Tesla_T4",
        )
    })
}
