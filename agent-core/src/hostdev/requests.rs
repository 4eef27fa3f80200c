//! What virt-controller asks of the kubelet for a machine.

use super::{
    display,
    machine::{Entry, List, Machine},
};
use crate::permit::{Notice, Parsed, Problem, ResourceName, finding::Shown};
use std::collections::HashMap;

/// The units of one resource that the container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The resource.
    pub resource: ResourceName,
    /// How many units.
    pub units: u64,
    /// The entries that name it, as places in [`Machine::entries`].
    pub entries: Vec<usize>,
}

/// All requests of a machine, and what is wrong with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// One for each resource, in the order in which the entries name them.
    pub requests: Vec<Request>,
    /// What keeps the machine from starting.
    pub problems: Vec<Problem>,
    /// What is accepted and yet worth saying.
    pub notices: Vec<Notice>,
}

/// Adds up the units: one for each entry of `gpus` and of `hostDevices`. What `spec.domain.resources` sets for the same
/// resource takes the place of the sum (KubeVirt: `ResourceRenderer.Limits`).
#[must_use]
pub fn requests(machine: &Machine) -> Requests {
    let mut all = Requests::default();
    let mut places: HashMap<&ResourceName, usize> = HashMap::new();
    for (index, resource) in machine.entries.iter().enumerate().filter_map(|(i, entry)| Some((i, entry.resource()?))) {
        let place = *places.entry(resource).or_insert(all.requests.len());
        match all.requests.get_mut(place) {
            Some(request) => {
                request.units += 1;
                request.entries.push(index);
            }
            None => all.requests.push(Request { resource: resource.clone(), units: 1, entries: vec![index] }),
        }
    }
    for request in &mut all.requests {
        overridden(machine, request, &mut all.problems);
        in_both_lists(machine, request, &mut all.problems);
    }
    all.problems.extend(equal_names(machine));
    all.problems.extend(display::refused(machine));
    all.problems.sort_by_key(|problem| problem.at);
    all
}

/// Which entries name a resource that is not permitted (KubeVirt: `validatePermittedHostDevices`): rendering the pod
/// fails. A KubeVirt CR without `permittedHostDevices` forbids nothing.
#[must_use]
pub fn permitted(machine: &Machine, parsed: &Parsed) -> Vec<Problem> {
    if !parsed.restricts {
        return Vec::new();
    }
    let is_permitted = |name: &ResourceName| parsed.permit.get(name.as_str()).is_some() || parsed.usb.contains(name);
    let strangers = machine.entries.iter().filter_map(|entry| Some((entry, entry.resource()?)));
    let strangers = strangers.filter(|(_, resource)| !is_permitted(resource));
    strangers
        .map(|(entry, resource)| {
            let names = parsed.permit.resources().iter().map(|resource| resource.name.as_str());
            let like =
                names.chain(parsed.usb.iter().map(ResourceName::as_str)).find(|name| like(name, resource.as_str()));
            let remedy = match like {
                Some(like) => format!("did you mean {like}? The name must be exact"),
                None => "add the resource to permittedHostDevices, or name one that is there".to_owned(),
            };
            let path = format!("{}.deviceName", entry.path);
            Problem::new(entry.at, path, "is not permitted by the configuration", remedy).with_value(resource.as_str())
        })
        .collect()
}

fn like(permitted: &str, wanted: &str) -> bool {
    permitted.eq_ignore_ascii_case(wanted) || strsim::damerau_levenshtein(permitted, wanted) <= 2
}

fn overridden(machine: &Machine, request: &mut Request, problems: &mut Vec<Problem>) {
    let name = request.resource.as_str();
    let (limit, requested) = (machine.limits.get(name), machine.requests.get(name));
    let counted = request.units;
    let units = |written: Option<&super::machine::Written>| written.map_or(counted, |written| written.units);
    request.units = units(limit);
    let Some(at) = limit.or(requested).map(|written| written.at) else { return };
    let path = |which: &str| format!("{}.resources.{which}[{name}]", machine.domain);
    if units(limit) != units(requested) {
        let what = format!(
            "asks for {} and is limited to {}: Kubernetes wants the two equal for a device",
            units(requested),
            units(limit)
        );
        let which = if requested.is_some() { "requests" } else { "limits" };
        problems.push(Problem::new(at, path(which), what, "leave it out: virt-controller counts the entries"));
    } else if units(limit) != counted {
        let what = format!(
            "takes the place of what virt-controller counts: the pod gets {} of {name} for {counted} entries",
            units(limit)
        );
        problems.push(Problem::new(at, path("limits"), what, "leave it out: virt-controller counts the entries"));
    }
}

/// The trap of the two pools: each takes the first address, so the machine gets one device twice and another never.
fn in_both_lists(machine: &Machine, request: &Request, problems: &mut Vec<Problem>) {
    let entries = || request.entries.iter().filter_map(|index| machine.entries.get(*index));
    let first_of = |list| entries().find(|entry| entry.list == list);
    let (Some(gpu), Some(other)) = (first_of(List::Gpus), first_of(List::HostDevices)) else { return };
    let what = format!(
        "{} is named by {} too: gpus and hostDevices take from pools of their own, so both get the same device",
        request.resource, gpu.path
    );
    problems.push(Problem::new(other.at, other.path.clone(), what, "name the resource in one of the two lists only"));
}

/// Two entries of one list with one name, which becomes an alias in libvirt.
fn equal_names(machine: &Machine) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: HashMap<(List, &str), &Entry> = HashMap::new();
    for entry in machine.entries.iter().filter(|entry| !entry.name.is_empty()) {
        let first = *names.entry((entry.list, &entry.name)).or_insert(entry);
        if std::ptr::eq(first, entry) {
            continue;
        }
        let what = format!("{} is the name of {} too", Shown(&entry.name), first.path);
        let path = format!("{}.name", entry.path);
        problems.push(Problem::new(entry.at, path, what, "give it another name: libvirt refuses two equal aliases"));
    }
    problems
}
