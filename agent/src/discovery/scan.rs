//! The whole host, read once.

use super::{
    cdevs::Cdevs,
    entry::List,
    fault::{Cause, Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
    iommu, mdev,
    nodes::read_nodes,
    pci,
    reader::{Known, Reader},
    target::read_from,
};
use rustix::io::Errno;
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
        self.devices.binary_search_by_key(&id, |device| device.id).ok().and_then(|at| self.devices.get(at))
    }
}

/// Reads all PCI functions, mdevs, IOMMU groups and VFIO nodes of the host.
#[must_use]
pub fn scan(root: &HostRoot) -> Scan {
    let mut scan = Scan::default();
    let cdevs = Cdevs::read(root);
    let nodes = read_nodes(root).map_err(|fault| scan.faults.push(fault)).ok();
    let known = Known { cdevs: cdevs.as_ref(), nodes: nodes.as_ref() };
    scan.complete.pci = scan_list(root, pci::LIST, known, &mut scan);
    scan.complete.mdev = scan_list(root, mdev::LIST, known, &mut scan);
    scan.devices.sort_unstable_by_key(|device| device.id);
    scan_groups(root, known, &mut scan);
    scan.nodes = nodes;
    scan
}

/// Reads the devices of one bus; false where the list could not be read to its end.
fn scan_list(root: &HostRoot, path: &'static str, known: Known<'_>, scan: &mut Scan) -> bool {
    let mdevs = path == mdev::LIST;
    let list = match List::open(root, path) {
        Ok(Some(list)) => list,
        Ok(None) => return true,
        Err(fault) => {
            scan.faults.push(fault);
            return false;
        }
    };
    let mut ids: Vec<DeviceId> = Vec::new();
    let listed = list.folder.names(".", |name| match id_of(name, mdevs) {
        Some(id) => ids.push(id),
        None => {
            let expected = if mdevs { "the UUID of an mdev" } else { "a PCI address" };
            scan.faults.push(Fault::new(path, Cause::malformed(name, expected), Consequence::EntryIgnored));
        }
    });
    if let Err(errno) = listed {
        scan.faults.push(Fault::new(path, errno, Consequence::ListIncomplete));
    }
    for (devices, faults) in on_two_threads(&ids, |ids| {
        let (mut devices, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
        for &id in ids {
            match read_from(&list, id, &mut reader, &mut faults) {
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

/// The id that a name stands for. The kernel writes each in one way only; another spelling could not be opened again.
fn id_of(name: &[u8], mdev: bool) -> Option<DeviceId> {
    DeviceId::from_name(name).filter(|id| id.is_mdev() == mdev)
}

/// Reads all groups, and adds to each those devices whose own link names it.
fn scan_groups(root: &HostRoot, known: Known<'_>, scan: &mut Scan) {
    let mut linked: Vec<(GroupId, &Device)> =
        scan.devices.iter().filter_map(|device| Some((device.group?, device))).collect();
    linked.sort_unstable_by_key(|(group, device)| (*group, device.id));
    let mut ids: Vec<GroupId> = linked.iter().map(|(group, _)| *group).collect();
    let folder = match Folder::open(root.at(iommu::LIST)) {
        Ok(folder) => Some(folder),
        Err(Errno::NOENT) => None,
        Err(errno) => {
            scan.faults.push(Fault::new(iommu::LIST, errno, Consequence::MembersFromLinks));
            None
        }
    };
    if let Some(folder) = &folder
        && let Err(errno) = folder.names(".", |name| ids.extend(super::entry::number::<GroupId>(name)))
    {
        scan.faults.push(Fault::new(iommu::LIST, errno, Consequence::MembersFromLinks));
    }
    ids.sort_unstable();
    ids.dedup();
    let member = |id: DeviceId| scan.device(id).map(Member::from);
    let parts = on_two_threads(&ids, |ids| {
        let (mut groups, mut faults, mut reader) = (Vec::new(), Vec::new(), Reader::new(known));
        for &id in ids {
            let read = folder
                .as_ref()
                .map_or(Ok(None), |groups| iommu::read(groups, id, &mut |id, _| member(id), &mut reader, &mut faults));
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
