//! The whole host, read once.

use super::{
    bound::Bound,
    cdevs::Cdevs,
    entry::List,
    fault::{Cause, Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
    iommu, mdev,
    nodes::read_nodes,
    pci,
    reader::{Known, Reader},
    remembered::{Entries, Remembered},
    target::read_from,
};
use rustix::io::Errno;
use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use vfiod_core::device::{DevNodes, Device, DeviceId, Group, GroupId, Member, MemberName, Members};

/// What one scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// All PCI functions and mdevs that could be read, permitted or not, in the order of their ids.
    pub devices: Vec<Device>,
    /// All IOMMU groups with all their members, in the order of their numbers.
    pub groups: Vec<Group>,
    /// The device nodes; `None` where they could not be read.
    pub nodes: Option<DevNodes>,
    /// What could not be read or understood.
    pub faults: Vec<Fault>,
    /// Which lists are known in full.
    pub complete: Complete,
}

/// Which lists of devices were read to their end. Only then does a device's absence say that it is gone, and only
/// where no fault names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Complete {
    /// `/sys/bus/pci/devices`.
    pub pci: bool,
    /// `/sys/bus/mdev/devices`.
    pub mdev: bool,
}

impl Scan {
    /// Whether this scan proves that the host no longer has a device.
    #[must_use]
    pub fn proves_gone(&self, id: DeviceId) -> bool {
        let complete = if id.is_mdev() { self.complete.mdev } else { self.complete.pci };
        complete && self.device(id).is_none() && !self.faults.iter().any(|fault| fault.device == Some(id))
    }

    /// The device of this id.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        scanned(&self.devices, id)
    }
}

/// The device of this id among those that were scanned.
fn scanned(devices: &[Device], id: DeviceId) -> Option<&Device> {
    devices.binary_search_by_key(&id, |device| device.id).ok().and_then(|at| devices.get(at))
}

/// Reads all PCI functions, mdevs, IOMMU groups and VFIO nodes of the host.
#[must_use]
pub fn scan(root: &HostRoot) -> Scan {
    Look::new(root, &Remembered::default()).all().0
}

/// The same, but that devices and groups which are `remembered` and have not changed are not read; and what is to be
/// remembered of it, which is nothing where a part of it was remembered only.
#[must_use]
pub fn look_again(root: &HostRoot, remembered: &Remembered) -> (Scan, Remembered) {
    let mut look = Look::new(root, remembered);
    look.entries.bound = Bound::read(root);
    let (scan, entries, cdevs) = look.all();
    let Some(cdevs) = cdevs.filter(|_| remembered.is_empty()) else { return (scan, Remembered::default()) };
    let unsound: HashSet<DeviceId> = scan.faults.iter().filter_map(|fault| fault.device).collect();
    let sound = |id| !unsound.contains(&id);
    let now = Remembered::of(&scan.devices, &scan.groups, &entries, &cdevs, sound);
    (scan, now)
}

/// One look at the whole host.
struct Look<'h> {
    root: &'h HostRoot,
    remembered: &'h Remembered,
    entries: Entries,
}

/// What is known of a device before it is read.
#[derive(Clone, Copy)]
struct Listed {
    id: DeviceId,
    /// The entry of its link.
    entry: u64,
}

impl<'h> Look<'h> {
    fn new(root: &'h HostRoot, remembered: &'h Remembered) -> Self {
        Self { root, remembered, entries: Entries::default() }
    }

    fn all(mut self) -> (Scan, Entries, Option<Cdevs>) {
        let mut scan = Scan::default();
        let cdevs = Cdevs::read(self.root, self.remembered);
        let nodes = read_nodes(self.root).map_err(|fault| scan.faults.push(fault)).ok();
        let known = Known { cdevs: cdevs.as_ref(), nodes: nodes.as_ref() };
        scan.complete.pci = self.list(pci::LIST, known, &mut scan);
        scan.complete.mdev = self.list(mdev::LIST, known, &mut scan);
        scan.devices.sort_unstable_by_key(|device| device.id);
        self.groups(known, &mut scan);
        scan.nodes = nodes;
        (scan, self.entries, cdevs)
    }

    /// Reads the devices of one bus; false where the list could not be read to its end.
    fn list(&mut self, path: &'static str, known: Known<'_>, scan: &mut Scan) -> bool {
        let mdevs = path == mdev::LIST;
        let list = match List::open(self.root, path) {
            Ok(Some(list)) => list,
            Ok(None) => return true,
            Err(fault) => {
                scan.faults.push(fault);
                return false;
            }
        };
        let mut all: Vec<Listed> = Vec::new();
        let listed = list.folder.entries(".", |name, entry| match id_of(name, mdevs) {
            Some(id) => all.push(Listed { id, entry }),
            None => {
                let expected = if mdevs { "the UUID of an mdev" } else { "a PCI address" };
                scan.faults.push(Fault::new(path, Cause::malformed(name, expected), Consequence::EntryIgnored));
            }
        });
        if let Err(errno) = listed {
            scan.faults.push(Fault::new(path, errno, Consequence::ListIncomplete));
        }
        if !mdevs {
            self.recall(&mut all, known, scan);
        }
        for (devices, faults) in on_two_threads(&all, |all| {
            let (mut devices, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
            for device in all {
                match read_from(&list, device.id, &mut reader, &mut faults) {
                    Ok(device) => devices.extend(device),
                    Err(fault) => faults.push(fault),
                }
            }
            (devices, faults)
        }) {
            scan.devices.extend(devices);
            scan.faults.extend(faults);
        }
        listed.is_ok()
    }

    /// Takes those functions from what is remembered that are still the same; the others are left to be read.
    fn recall(&mut self, all: &mut Vec<Listed>, known: Known<'_>, scan: &mut Scan) {
        let Some(bound) = &self.entries.bound else { return };
        if let (Some(cdevs), false) = (known.cdevs, self.remembered.is_empty()) {
            all.retain(|&Listed { id, entry }| {
                let DeviceId::Pci(bdf) = id else { return true };
                let recalled = self.remembered.function(bdf, entry, bound, cdevs);
                let is_new = recalled.is_none();
                scan.devices.extend(recalled);
                is_new
            });
        } else {
            let functions = all.iter().filter_map(|listed| match listed.id {
                DeviceId::Pci(bdf) => Some((bdf, listed.entry)),
                DeviceId::Mdev(_) => None,
            });
            self.entries.functions = functions.collect();
        }
    }

    /// Reads all groups, and adds to each those devices whose own link names it.
    fn groups(&mut self, known: Known<'_>, scan: &mut Scan) {
        let mut linked: Vec<(GroupId, &Device)> =
            scan.devices.iter().filter_map(|device| Some((device.group?, device))).collect();
        linked.sort_unstable_by_key(|(group, device)| (*group, device.id));
        let mut ids: Vec<(GroupId, Option<u64>)> = linked.iter().map(|(group, _)| (*group, None)).collect();
        let folder = match Folder::open(self.root.at(iommu::LIST)) {
            Ok(folder) => Some(folder),
            Err(Errno::NOENT) => None,
            Err(errno) => {
                scan.faults.push(Fault::new(iommu::LIST, errno, Consequence::MembersFromLinks));
                None
            }
        };
        let entries = &mut self.entries.groups;
        if let Some(folder) = &folder
            && let Err(errno) = folder.entries(".", |name, entry| {
                entries.extend(super::entry::number::<GroupId>(name).map(|id| (id, entry)));
            })
        {
            scan.faults.push(Fault::new(iommu::LIST, errno, Consequence::MembersFromLinks));
        }
        // Those of the list first, which have an entry.
        ids.extend(entries.iter().map(|(id, entry)| (*id, Some(*entry))));
        ids.sort_unstable_by_key(|(id, entry)| (*id, entry.is_none()));
        ids.dedup_by_key(|(id, _)| *id);
        // The neighbour that could not be read is in none of the lists: only the group's own knows of it.
        let nothing = Remembered::default();
        let remembered = if scan.faults.is_empty() { self.remembered } else { &nothing };
        let devices = &scan.devices;
        let member = |id: DeviceId| scanned(devices, id).map(Member::from);
        let parts = on_two_threads(&ids, |ids| {
            let (mut groups, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
            for &(id, entry) in ids {
                let read = match (&folder, entry.and_then(|entry| remembered.group(id, entry))) {
                    (Some(_), Some(noiommu)) => Ok(Some(Group { id, noiommu, members: Members::new() })),
                    (Some(groups), None) => iommu::read(groups, id, &mut |id, _| member(id), &mut reader, &mut faults),
                    (None, _) => Ok(None),
                };
                let mut group = read.unwrap_or_else(|fault| {
                    faults.push(fault);
                    None
                });
                let from = linked.partition_point(|(group, _)| *group < id);
                for (_, device) in linked.iter().skip(from).take_while(|(group, _)| *group == id) {
                    let group = group.get_or_insert_with(|| Group { id, noiommu: false, members: Members::new() });
                    let name = MemberName::Device(device.id);
                    if let Err(at) = group.members.binary_search_by(|other| other.name.cmp(&name)) {
                        group.members.insert(at, Member::from(*device));
                    }
                }
                groups.extend(group);
            }
            (groups, faults)
        });
        for (groups, faults) in parts {
            scan.groups.extend(groups);
            scan.faults.extend(faults);
        }
        scan.groups.sort_unstable_by_key(|group| group.id);
    }
}

/// The id that a name stands for. The kernel writes each in one way only; another spelling could not be opened again.
fn id_of(name: &[u8], mdev: bool) -> Option<DeviceId> {
    DeviceId::from_name(name).filter(|id| id.is_mdev() == mdev)
}

/// Below this many items a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 64;

/// Shares the items between this thread and one more: each takes the next when it is done with one. Two threads read sysfs
/// in little more than half the time of one, and no more are taken from a host whose CPUs belong to virtual machines.
pub(super) fn on_two_threads<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&mut dyn Iterator<Item = &T>) -> R + Sync,
) -> [R; 2] {
    let taken = AtomicUsize::new(0);
    let run = || work(&mut std::iter::from_fn(|| items.get(taken.fetch_add(1, Ordering::Relaxed))));
    if items.len() < WORTH_A_THREAD {
        return [run(), work(&mut std::iter::empty())];
    }
    thread::scope(|scope| {
        let other = scope.spawn(run);
        let first = run();
        match other.join() {
            Ok(second) => [first, second],
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
