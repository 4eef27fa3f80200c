//! Why entries and devices do not match.

use super::{
    assign::{Assignment, Served},
    environment::{Environment, carries_devices},
    machine::{Entry, List, Machine},
    pool::Naming,
};
use crate::{
    permit::{Notice, Problem, ResourceName, finding::Shown},
    variables::{Carried, EnvNames, kubevirt_spelling, seed_spelling},
};
use std::collections::{BTreeMap, BTreeSet};

/// Finds everything that keeps the machine from starting, and what is odd.
pub(super) fn explain(
    machine: &Machine,
    environment: &Environment,
    naming: Naming<'_>,
    served: &[Served<'_>],
    assignment: &mut Assignment,
) {
    let view = View { machine, environment, naming };
    for served in served {
        view.bad_addresses(served, assignment);
        view.without_device(served, assignment);
        view.left_over(served, assignment);
    }
    view.two_devices(assignment);
    view.shared_devices(assignment);
    view.aliases(assignment);
    view.spellings(assignment);
}

struct View<'a> {
    machine: &'a Machine,
    environment: &'a Environment,
    naming: Naming<'a>,
}

fn problem(entry: &Entry, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::new(entry.at, entry.path.clone(), what, remedy)
}

impl View<'_> {
    fn entry(&self, index: usize) -> Option<&Entry> {
        self.machine.entries.get(index)
    }

    fn bad_addresses(&self, served: &Served<'_>, assignment: &mut Assignment) {
        for bad in &served.bad {
            let Some(entry) = self.entry(bad.entry) else { continue };
            let what = format!("gets {} from {}, which {}", Shown(&bad.address), bad.variable, bad.what);
            assignment.problems.push(problem(entry, what, bad.remedy));
        }
    }

    /// Entries that got nothing: here virt-launcher only says that numbers do not match.
    fn without_device(&self, served: &Served<'_>, assignment: &mut Assignment) {
        let good = assignment.devices.iter().map(|device| device.entry);
        let has: BTreeSet<usize> = good.chain(served.bad.iter().map(|bad| bad.entry)).collect();
        let mut wanted: BTreeMap<&ResourceName, usize> = BTreeMap::new();
        for (_, _, resource) in self.machine.plugged(served.list) {
            *wanted.entry(resource).or_default() += 1;
        }
        let without = self.machine.plugged(served.list).filter(|(index, ..)| !has.contains(index));
        let problems: Vec<Problem> = without
            .map(|(_, entry, resource)| {
                let wanted = wanted.get(resource).copied().unwrap_or_default();
                self.nothing(served, entry, resource, wanted)
            })
            .collect();
        assignment.problems.extend(problems);
    }

    fn nothing(&self, served: &Served<'_>, entry: &Entry, resource: &ResourceName, wanted: usize) -> Problem {
        let shelves: Vec<_> = served.pools.iter().filter_map(|(_, pool)| pool.shelf(resource)).collect();
        if shelves.is_empty() {
            return self.unset(served, entry, resource);
        }
        let held = shelves.iter().map(|shelf| match shelf.filled {
            0 => format!("{} is empty", shelf.variable),
            1 => format!("{} holds 1 address", shelf.variable),
            n => format!("{} holds {n} addresses", shelf.variable),
        });
        let held = held.collect::<Vec<_>>().join(", ");
        let enough = shelves.iter().map(|shelf| shelf.filled).sum::<usize>() >= wanted;
        let (what, remedy) = if enough {
            (
                format!("gets no device: {held}, but other entries of {} took them all", served.list.field()),
                "the device plugin must give every container addresses that no other resource of it has".to_owned(),
            )
        } else {
            (
                format!("gets no device: {held}, and {wanted} entries of {} want one each", served.list.field()),
                format!("the device plugin of {resource} must write one address for each unit that it allocates"),
            )
        };
        problem(entry, what, remedy)
    }

    /// No variable of the resource is set: names what was looked for, and what looks like it.
    fn unset(&self, served: &Served<'_>, entry: &Entry, resource: &ResourceName) -> Problem {
        let names = |kind: &Carried| self.naming.names(resource, *kind);
        let looked: Vec<String> = served.pools.iter().flat_map(|(kind, _)| names(kind)).collect();
        let what = format!("gets no device: none of {} is set", looked.join(", "));
        let usb = kubevirt_spelling(resource, Carried::Usb);
        let remedy = if served.list == List::Gpus && self.environment.get(&usb).is_some() {
            format!("{usb} is set: move the entry to hostDevices, for gpus takes no USB devices")
        } else if let Some(other) = self.other_spelling(resource) {
            format!("{other} is set, which virt-launcher does not read: it reads the name in upper case")
        } else if let Some(near) = self.nearest(&looked) {
            format!("{near} is set: does it belong to this resource? The name must be exact")
        } else {
            format!("does a device plugin serve {resource}, and is this the environment of the container compute?")
        };
        problem(entry, what, remedy)
    }

    fn other_spelling(&self, resource: &ResourceName) -> Option<String> {
        let kinds = [Carried::Pci, Carried::Mdev, Carried::Usb];
        kinds.map(|kind| seed_spelling(resource, kind)).into_iter().find(|name| self.environment.get(name).is_some())
    }

    /// A variable of devices that looks like one of these and belongs to no other entry.
    fn nearest(&self, looked: &[String]) -> Option<&str> {
        let claimed: BTreeSet<String> = self
            .machine
            .entries
            .iter()
            .filter_map(Entry::resource)
            .flat_map(|resource| {
                [Carried::Pci, Carried::Mdev, Carried::Usb]
                    .into_iter()
                    .flat_map(|kind| [kubevirt_spelling(resource, kind), seed_spelling(resource, kind)])
            })
            .collect();
        let strangers = self.environment.names().filter(|name| carries_devices(name) && !claimed.contains(*name));
        let distance = |name: &str| looked.iter().map(|other| strsim::damerau_levenshtein(name, other)).min();
        let ranked = strangers.filter_map(|name| Some((distance(name)?, name)));
        let (distance, name) = ranked.min()?;
        (distance <= 2 + name.len() / 6).then_some(name)
    }

    fn left_over(&self, served: &Served<'_>, assignment: &mut Assignment) {
        for (resource, variable, left) in served.pools.iter().flat_map(|(_, pool)| pool.left()) {
            let Some((_, entry, _)) = self.machine.plugged(served.list).find(|(_, _, other)| *other == resource) else {
                continue;
            };
            let in_both =
                List::ALL.iter().all(|list| self.machine.plugged(*list).any(|(_, _, other)| other == resource));
            if in_both {
                continue; // told as the trap that it is
            }
            let what = format!("{variable} holds {} that no entry takes", left.join(","));
            let remedy = "the pod owns these devices all the same: ask for as many units as there are entries";
            assignment.notices.push(Notice::new(entry.at, entry.path.clone(), what, remedy));
        }
    }

    /// An entry whose resource carries PCI functions and mdevs takes one of each, and both get its alias.
    fn two_devices(&self, assignment: &mut Assignment) {
        let mut count: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for device in &assignment.devices {
            count.entry(device.entry).or_default().push(device.source.to_string());
        }
        for (index, devices) in count.into_iter().filter(|(_, devices)| devices.len() > 1) {
            let (Some(entry), Some(resource)) = (self.entry(index), self.entry(index).and_then(Entry::resource)) else {
                continue;
            };
            let what = format!(
                "gets {} devices ({}): {resource} carries more than one kind of device, and virt-launcher asks for each",
                devices.len(),
                devices.join(", ")
            );
            assignment.problems.push(problem(entry, what, "give each kind of device a resource of its own"));
        }
    }

    /// The same device twice.
    fn shared_devices(&self, assignment: &mut Assignment) {
        let mut first: BTreeMap<_, usize> = BTreeMap::new();
        let mut found = Vec::new();
        for device in &assignment.devices {
            let before = *first.entry(device.source).or_insert(device.entry);
            let (Some(entry), Some(other)) = (self.entry(device.entry), self.entry(before)) else { continue };
            let trap = entry.list != other.list && entry.resource() == other.resource();
            if before == device.entry || trap {
                continue; // told elsewhere: here of an entry with two devices, by `requests` of a resource in both lists
            }
            // The later entry of the document is the one to be told.
            let (entry, other) = if entry.at < other.at { (other, entry) } else { (entry, other) };
            let what = format!("gets {}, which {} gets too", device.source, other.path);
            let remedy =
                "a device plugin must give a device to a container once, under one resource and in one spelling";
            found.push(problem(entry, what, remedy));
        }
        assignment.problems.extend(found);
    }

    /// libvirt drops an alias with other characters (`src/conf/domain_conf.c`, `virDomainDeviceInfoParseXML`).
    fn aliases(&self, assignment: &mut Assignment) {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let odd = self.machine.entries.iter().filter(|entry| !plain(&entry.name));
        assignment.notices.extend(odd.map(|entry| {
            let what = format!("has the name {}, which libvirt takes for no alias", Shown(&entry.name));
            problem(entry, what, "write letters, digits, - and _")
        }));
    }

    /// Both spellings are set and differ: which one counts.
    fn spellings(&self, assignment: &mut Assignment) {
        let mut told = BTreeSet::new();
        for entry in &self.machine.entries {
            let Some(resource) = entry.resource() else { continue };
            for kind in [Carried::Pci, Carried::Mdev, Carried::Usb] {
                let (code, guide) = (kubevirt_spelling(resource, kind), seed_spelling(resource, kind));
                let differ = match (self.environment.get(&code), self.environment.get(&guide)) {
                    (Some(code), Some(guide)) => code != guide,
                    _ => false,
                };
                if differ && told.insert(guide.clone()) {
                    let used = if self.naming.spelling == EnvNames::Seed { &guide } else { &code };
                    let what = format!("{code} and {guide} hold different addresses; those of {used} count here");
                    let remedy = "the device plugin must write the same into both";
                    assignment.notices.push(problem(entry, what, remedy));
                }
            }
        }
    }
}
