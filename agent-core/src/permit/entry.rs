//! The entries of `permittedHostDevices`, each read and judged alone.

use super::{
    ResourceName,
    document::Document,
    fields::Field,
    finding::{Notice, Position, Problem, good},
    selector::{Selector, normal_mdev_name},
};
use crate::variables::is_env_name;
use std::collections::BTreeSet;

/// A good entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Position,
    /// Its path, such as `permittedHostDevices.pciHostDevices[1]`.
    pub(super) path: String,
    pub(super) name: ResourceName,
    pub(super) selector: Selector,
    pub(super) external: bool,
    pub(super) aliases: Vec<String>,
}

/// What could be told of a bad entry, so that its last good definition can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) name: Option<ResourceName>,
    pub(super) selector: Option<Selector>,
}

impl From<Entry> for Rejected {
    fn from(entry: Entry) -> Self {
        Self { name: Some(entry.name), selector: Some(entry.selector) }
    }
}

/// All entries of a document.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) good: Vec<Entry>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<Notice>,
    /// The resources that good entries give to USB devices.
    pub(super) usb: BTreeSet<ResourceName>,
}

/// The lists of `permittedHostDevices` (KubeVirt: `staging/src/kubevirt.io/api/core/v1/types.go`, `PermittedHostDevices`).
const LISTS: [&str; 3] = ["pciHostDevices", "mediatedDevices", "usb"];

/// Reads all entries. An error rejects the document: its shape is wrong.
pub(super) fn read(document: &Document) -> Result<Entries, Problem> {
    let mut entries = Entries::default();
    let Some(section) = document.permits.as_ref().filter(|section| !section.node.is_null()) else { return Ok(entries) };
    section.expect_map()?;
    for unknown in section.unknown(&LISTS) {
        if !document.kubevirt {
            return Err(unknown.problem());
        }
        if unknown.is_near {
            entries.notices.push(unknown.problem());
        }
    }
    let [pci, mdev, usb] = LISTS.map(|list| section.get(list));
    for entry in items(pci)? {
        entries.take(&entry, "pciVendorSelector", pci_selector, document.kubevirt);
    }
    for entry in items(mdev)? {
        entries.take(&entry, "mdevNameSelector", mdev_selector, document.kubevirt);
    }
    for entry in items(usb)? {
        entries.take_usb(&entry, document.kubevirt);
    }
    Ok(entries)
}

fn items(list: Option<Field>) -> Result<Vec<Field>, Problem> {
    list.map_or(Ok(Vec::new()), |list| list.items())
}

impl Entries {
    fn take(
        &mut self,
        entry: &Field,
        selector: &str,
        read_selector: fn(&Field) -> Result<Selector, Problem>,
        kubevirt: bool,
    ) {
        let before = self.problems.len();
        let problems = &mut self.problems;
        let mut rejected = Rejected { name: None, selector: None };
        if good(entry.expect_map(), problems).is_none() {
            self.rejected.push(rejected);
            return;
        }
        let mut known = vec![selector, "resourceName", "externalResourceProvider"];
        if !kubevirt {
            known.push("envAliases");
        }
        strangers(entry, &known, kubevirt, problems, &mut self.notices);
        rejected.selector = good(required(entry, selector).and_then(|field| read_selector(&field)), problems);
        rejected.name = good(required(entry, "resourceName").and_then(|field| resource_name(&field)), problems);
        let external = good(external(entry), problems);
        let aliases = if kubevirt { Vec::new() } else { aliases(entry, problems) };
        match (&rejected.name, &rejected.selector, external) {
            (Some(name), Some(selector), Some(external)) if problems.len() == before => self.good.push(Entry {
                at: entry.node.at,
                path: entry.path.clone(),
                name: name.clone(),
                selector: selector.clone(),
                external,
                aliases,
            }),
            _ => self.rejected.push(rejected),
        }
    }

    /// USB entries are judged like the others, so that a file is right or wrong whatever vfiod serves; then left alone.
    fn take_usb(&mut self, entry: &Field, kubevirt: bool) {
        let before = self.problems.len();
        let problems = &mut self.problems;
        if good(entry.expect_map(), problems).is_none() {
            return;
        }
        strangers(
            entry,
            &["resourceName", "selectors", "externalResourceProvider"],
            kubevirt,
            problems,
            &mut self.notices,
        );
        let name = good(required(entry, "resourceName").and_then(|field| resource_name(&field)), problems);
        good(external(entry), problems);
        let selectors = good(required(entry, "selectors").and_then(|field| some_items(&field)), problems);
        for selector in selectors.unwrap_or_default() {
            if good(selector.expect_map(), problems).is_none() {
                continue;
            }
            strangers(&selector, &["vendor", "product"], kubevirt, problems, &mut self.notices);
            for key in ["vendor", "product"] {
                good(required(&selector, key).and_then(|field| usb_number(&field)), problems);
            }
        }
        if let Some(name) = name.filter(|_| self.problems.len() == before) {
            self.notices
                .push(entry.problem(format!("{name} is not served yet"), "vfiod serves PCI and mediated devices"));
            self.usb.insert(name);
        }
    }
}

/// Fields that nobody knows: an error in a document of vfiod's own. In a CR they are KubeVirt's business, but one that
/// looks like a slip of the pen is worth a word.
fn strangers(field: &Field, known: &[&str], kubevirt: bool, problems: &mut Vec<Problem>, notices: &mut Vec<Notice>) {
    for unknown in field.unknown(known) {
        if !kubevirt {
            problems.push(unknown.problem());
        } else if unknown.key == "envAliases" {
            notices.push(Notice::new(
                unknown.at,
                unknown.path,
                "is ignored: a KubeVirt CR has no such field",
                "give aliases in a configuration of vfiod's own",
            ));
        } else if unknown.is_near {
            notices.push(unknown.problem());
        }
    }
}

fn required(entry: &Field, key: &str) -> Result<Field, Problem> {
    entry.get_some(key).ok_or_else(|| {
        let at = entry.get(key).map_or(entry.node.at, |field| field.node.at);
        Problem::new(at, format!("{}.{key}", entry.path), "is missing", format!("add {key}"))
    })
}

fn pci_selector(field: &Field) -> Result<Selector, Problem> {
    let parsed = field.text()?.parse();
    parsed.map(Selector::Pci).map_err(|_| {
        field
            .bad_value("is not vendor:product", "write four hexadecimal digits, a colon and four more, as in 10DE:1EB8")
    })
}

fn mdev_selector(field: &Field) -> Result<Selector, Problem> {
    const REMEDY: &str = "write the type's name as its mdev_type/name shows it, as in GRID T4-1Q";
    let name = normal_mdev_name(field.text()?);
    if name.is_empty() {
        return Err(field.bad_value("is blank", REMEDY));
    }
    if name.chars().any(char::is_control) {
        return Err(field.bad_value("holds a control character", REMEDY));
    }
    Ok(Selector::Mdev(name.into_owned()))
}

fn resource_name(field: &Field) -> Result<ResourceName, Problem> {
    field.text()?.parse().map_err(|why| {
        field.bad_value(
            format!("is not a resource name that the kubelet accepts: {why}"),
            "write domain/name, as in nvidia.com/TU104GL_Tesla_T4",
        )
    })
}

fn external(entry: &Field) -> Result<bool, Problem> {
    entry.get_some("externalResourceProvider").map_or(Ok(false), |field| field.boolean())
}

fn aliases(entry: &Field, problems: &mut Vec<Problem>) -> Vec<String> {
    let list = entry.get("envAliases").map_or(Ok(Vec::new()), |list| list.items());
    let mut aliases = Vec::new();
    for item in good(list, problems).unwrap_or_default() {
        if let Some(alias) = good(alias(&item), problems)
            && !aliases.contains(&alias)
        {
            aliases.push(alias);
        }
    }
    aliases
}

fn alias(field: &Field) -> Result<String, Problem> {
    let name = field.text()?;
    if is_env_name(name) {
        return Ok(name.to_owned());
    }
    Err(field.bad_value(
        "is not the name of an environment variable",
        "write letters, digits, _, - and ., not beginning with a digit, as in PCI_RESOURCE_INTEL_QAT",
    ))
}

fn some_items(list: &Field) -> Result<Vec<Field>, Problem> {
    let items = list.items()?;
    if items.is_empty() {
        return Err(list.problem("is empty", "add at least one vendor and product"));
    }
    Ok(items)
}

fn usb_number(field: &Field) -> Result<(), Problem> {
    let text = field.text()?;
    if (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(field.bad_value("is not a USB number", "write up to four hexadecimal digits in quotes, as in \"0951\""))
}
