//! What there is on the host, before anything of it is read: the names in a few folders, and the entry of each.

use super::{
    entry::{List, number},
    fault::{Cause, Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
    iommu, mdev,
    nodes::read_nodes,
    pci,
};
use rustix::io::Errno;
use vfiod_core::device::{DevNodes, DeviceId, GroupId};

/// What there is, whatever is known of it.
pub(super) struct Listings {
    pub(super) pci: Bus,
    pub(super) mdev: Bus,
    pub(super) nodes: Result<DevNodes, Fault>,
}

/// The devices of one bus.
pub(super) struct Bus {
    /// `None` where the host has no such bus, or it cannot be opened.
    pub(super) list: Option<List>,
    pub(super) devices: Vec<Listed>,
    pub(super) faults: Vec<Fault>,
    /// Whether the list was read to its end.
    pub(super) complete: bool,
}

/// A device that is listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) id: DeviceId,
    /// The entry of its link.
    pub(super) entry: u64,
}

/// The IOMMU groups.
pub(super) struct Groups {
    /// `None` where the host has none, or the folder cannot be opened.
    pub(super) folder: Option<Folder>,
    pub(super) ids: Vec<GroupId>,
    pub(super) faults: Vec<Fault>,
}

impl Listings {
    pub(super) fn read(root: &HostRoot) -> Self {
        Self { pci: Bus::read(root, pci::LIST), mdev: Bus::read(root, mdev::LIST), nodes: read_nodes(root) }
    }
}

impl Bus {
    fn read(root: &HostRoot, path: &'static str) -> Self {
        let mdevs = path == mdev::LIST;
        let mut bus = Self { list: None, devices: Vec::new(), faults: Vec::new(), complete: true };
        let list = match List::open(root, path) {
            Ok(Some(list)) => list,
            Ok(None) => return bus,
            Err(fault) => {
                bus.complete = false;
                bus.faults.push(fault);
                return bus;
            }
        };
        let listed = list.folder.entries(".", |name, entry| match id_of(name, mdevs) {
            Some(id) => bus.devices.push(Listed { id, entry }),
            None => {
                let expected = if mdevs { "the UUID of an mdev" } else { "a PCI address" };
                bus.faults.push(Fault::new(path, Cause::malformed(name, expected), Consequence::EntryIgnored));
            }
        });
        if let Err(errno) = listed {
            bus.complete = false;
            bus.faults.push(Fault::new(path, errno, Consequence::ListIncomplete));
        }
        bus.list = Some(list);
        bus
    }
}

/// The id that a name stands for. The kernel writes each in one way only; another spelling could not be opened again.
fn id_of(name: &[u8], mdev: bool) -> Option<DeviceId> {
    DeviceId::from_name(name).filter(|id| id.is_mdev() == mdev)
}

impl Groups {
    /// Opens the folder, and lists the groups if that is asked for.
    pub(super) fn read(root: &HostRoot, listed: bool) -> Self {
        let mut groups = Self { folder: None, ids: Vec::new(), faults: Vec::new() };
        let fault = |errno: Errno| Fault::new(iommu::LIST, errno, Consequence::MembersFromLinks);
        match Folder::open(root.at(iommu::LIST)) {
            Ok(folder) => {
                if listed {
                    let read = folder.names(".", |name| groups.ids.extend(number::<GroupId>(name)));
                    groups.faults.extend(read.err().map(fault));
                }
                groups.folder = Some(folder);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => groups.faults.push(fault(errno)),
        }
        groups
    }
}
