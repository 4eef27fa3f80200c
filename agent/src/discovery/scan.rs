//! The whole host, read once.

use super::{
    bound::Bound,
    cdevs::Cdevs,
    fault::Fault,
    host_root::HostRoot,
    iommu,
    listing::{Bus, Groups, Listed, Listings},
    reader::{Known, Reader},
    remembered::Remembered,
    target::read_from,
};
use rustc_hash::FxHashSet;
use std::{
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
    let cdevs = Cdevs::read(root);
    let look = Look { root, remembered: &Remembered::default(), bound: None, cdevs: cdevs.as_ref() };
    look.read(Listings::read(root)).0
}

/// The same, but that devices and groups which are remembered (`recall` gives what is) and have not changed are not read.
#[must_use]
pub fn look_again(root: &HostRoot, recall: impl FnOnce() -> Remembered + Send) -> Again {
    let (listings, (remembered, bound)) = thread::scope(|scope| {
        let other = scope.spawn(|| (recall(), Bound::read(root)));
        (Listings::read(root), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let recalls = !remembered.is_empty();
    // Of few devices each is asked for its own.
    let cdevs = if recalls { None } else { Cdevs::read(root) };
    let look = Look { root, remembered: &remembered, bound: bound.as_ref(), cdevs: cdevs.as_ref() };
    let links: Vec<Listed> = if recalls { Vec::new() } else { listings.pci.devices.clone() };
    let (scan, recalled) = look.read(listings);
    let found = match &bound {
        Some(bound) if !recalls => Remembered::of(&scan, &links, bound),
        _ => Remembered::default(),
    };
    Again { scan, found, recalled: recalls.then_some(recalled) }
}

/// A look with memory.
#[derive(Debug)]
pub struct Again {
    /// What is there.
    pub scan: Scan,
    /// What is to be remembered of it: nothing where a part of it was remembered only.
    pub found: Remembered,
    /// How many of the devices were not read; `None` where nothing was remembered.
    pub recalled: Option<usize>,
}

/// One look at the whole host.
#[derive(Clone, Copy)]
struct Look<'h> {
    root: &'h HostRoot,
    remembered: &'h Remembered,
    bound: Option<&'h Bound>,
    cdevs: Option<&'h Cdevs>,
}

impl Look<'_> {
    fn read(self, listings: Listings) -> (Scan, usize) {
        let mut scan = Scan::default();
        let Listings { pci, mdev, nodes } = listings;
        let nodes = nodes.map_err(|fault| scan.faults.push(fault)).ok();
        let known = Known { cdevs: self.cdevs, nodes: nodes.as_ref() };
        scan.complete.pci = pci.complete;
        let (count, recalled) = self.bus(pci, known, &mut scan);
        scan.complete.mdev = mdev.complete;
        self.bus(mdev, known, &mut scan);
        scan.devices.sort_unstable_by_key(|device| device.id);
        self.groups(&recalled, known, &mut scan);
        scan.nodes = nodes;
        (scan, count)
    }

    /// Reads the devices of one bus, but for those that are remembered: gives how many these are, and their groups.
    fn bus(self, bus: Bus, known: Known<'_>, scan: &mut Scan) -> (usize, FxHashSet<GroupId>) {
        let (mut count, mut recalled) = (0, FxHashSet::default());
        let Bus { list, devices: mut unread, faults, .. } = bus;
        scan.faults.extend(faults);
        let Some(list) = list else { return (count, recalled) };
        if let (Some(bound), false) = (self.bound, self.remembered.is_empty()) {
            scan.devices.reserve(unread.len());
            unread.retain(|listed| match self.remembered.device(*listed, bound) {
                Some(device) => {
                    count += 1;
                    recalled.extend(device.group);
                    scan.devices.push(device.clone());
                    false
                }
                None => true,
            });
        }
        for (devices, faults) in on_two_threads(&unread, |unread| {
            let (mut devices, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
            for device in unread {
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
        (count, recalled)
    }

    /// Reads all groups, and adds to each those devices whose own link names it.
    ///
    /// A group of which a member was recalled is the same one, and remembered are those that had no members but functions:
    /// who has joined since has a link that says so.
    fn groups(self, recalled: &FxHashSet<GroupId>, known: Known<'_>, scan: &mut Scan) {
        // The neighbour that could not be read is in none of the lists: only the group's own knows of it.
        let nothing = FxHashSet::default();
        let recalled = if scan.faults.is_empty() { recalled } else { &nothing };
        let listed = Groups::read(self.root, recalled.is_empty());
        scan.faults.extend(listed.faults);
        let mut linked: Vec<(GroupId, &Device)> =
            scan.devices.iter().filter_map(|device| Some((device.group?, device))).collect();
        linked.sort_unstable_by_key(|(group, device)| (*group, device.id));
        let mut ids = listed.ids;
        ids.extend(linked.iter().map(|(group, _)| *group));
        ids.sort_unstable();
        ids.dedup();
        let devices = &scan.devices;
        let member = |id: DeviceId| scanned(devices, id).map(Member::from);
        let parts = on_two_threads(&ids, |ids| {
            let (mut groups, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
            for &id in ids {
                let read = match (&listed.folder, self.remembered.group(id).filter(|_| recalled.contains(&id))) {
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
