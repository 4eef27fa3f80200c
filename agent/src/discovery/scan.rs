//! The whole host, read once.

use super::{
    entry::List,
    fault::{Cause, Consequence, Fault},
    folder::{Folder, Scratch},
    host_root::HostRoot,
    iommu, mdev,
    nodes::read_nodes,
    pci,
    target::read_from,
};
use rustix::io::Errno;
use std::thread;
use vfiod_core::device::{DevNodes, Device, DeviceId, Group, GroupId, Member};

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
    scan.complete.pci = scan_list(root, pci::LIST, false, &mut scan);
    scan.complete.mdev = scan_list(root, mdev::LIST, true, &mut scan);
    scan.devices.sort_unstable_by_key(|device| device.id);
    scan_groups(root, &mut scan);
    match read_nodes(root) {
        Ok(nodes) => scan.nodes = Some(nodes),
        Err(fault) => scan.faults.push(fault),
    }
    scan
}

/// Reads the devices of one bus; false where the list could not be read to its end.
fn scan_list(root: &HostRoot, path: &'static str, mdevs: bool, scan: &mut Scan) -> bool {
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
        let (mut devices, mut faults, mut scratch) = (Vec::with_capacity(ids.len()), Vec::new(), Scratch::new());
        for &id in ids {
            match read_from(&list, id, &mut scratch, &mut faults) {
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
    let name = std::str::from_utf8(name).ok()?;
    let id: DeviceId = name.parse().ok()?;
    (id.is_mdev() == mdev && !name.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(id)
}

/// Reads all groups, and adds to each those devices whose own link names it.
fn scan_groups(root: &HostRoot, scan: &mut Scan) {
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
    let known = |name: &str| -> Option<Member> { Some(Member::from(scan.device(name.parse().ok()?)?)) };
    let parts = on_two_threads(&ids, |ids| {
        let (mut groups, mut faults, mut scratch) = (Vec::with_capacity(ids.len()), Vec::new(), Scratch::new());
        for &id in ids {
            let read = folder.as_ref().map_or(Ok(None), |groups| {
                iommu::read(groups, id, &mut |name, _| known(name), &mut scratch, &mut faults)
            });
            let mut group = read.unwrap_or_else(|fault| {
                faults.push(fault);
                None
            });
            let from = linked.partition_point(|(group, _)| *group < id);
            for (_, device) in linked.iter().skip(from).take_while(|(group, _)| *group == id) {
                let group = group.get_or_insert_with(|| Group { id, noiommu: false, members: Vec::new() });
                let member = Member::from(*device);
                if let Err(at) = group.members.binary_search_by(|other| other.name.cmp(&member.name)) {
                    group.members.insert(at, member);
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
}

/// Below this many items a second thread costs more than it saves.
const WORTH_A_THREAD: usize = 64;

/// Splits the work between this thread and one more; results come in the order of the items. Two threads read sysfs in
/// little more than half the time of one, and no more are taken from a host whose CPUs belong to virtual machines.
fn on_two_threads<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> R + Sync) -> [R; 2] {
    if items.len() < WORTH_A_THREAD {
        return [work(items), work(&[])];
    }
    let (first, second) = items.split_at(items.len() / 2);
    thread::scope(|scope| {
        let other = scope.spawn(|| work(second));
        let first = work(first);
        match other.join() {
            Ok(second) => [first, second],
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
