//! One device, read because an event named it.

use super::{
    entry::List,
    fault::Fault,
    host_root::HostRoot,
    mdev, pci,
    reader::{Known, Reader},
};
use vfiod_core::device::{Device, DeviceId};

/// What reading one device gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is there. A fault that leaves it usable is not told here: the next scan tells it.
    Present(Device),
    /// The host has no such device.
    Gone,
    /// It cannot be read: what was known before is still the best that is known.
    Fault(Fault),
}

/// Reads one device: about a dozen system calls, whatever the size of the host.
#[must_use]
pub fn read_device(root: &HostRoot, id: DeviceId) -> Reading {
    let path = if id.is_mdev() { mdev::LIST } else { pci::LIST };
    let reading = List::open(root, path).and_then(|list| match list {
        Some(list) => read_from(&list, id, &mut Reader::new(Known::default()), &mut Vec::new()),
        None => Ok(None),
    });
    match reading {
        Ok(Some(device)) => Reading::Present(device),
        Ok(None) => Reading::Gone,
        Err(fault) => Reading::Fault(fault.of(id)),
    }
}

/// How often a device is read before a fault is believed: one that goes and comes back while it is read looks broken.
const ATTEMPTS: usize = 3;

/// Reads one device of a list; `None` where it is gone.
pub(super) fn read_from(
    list: &List,
    id: DeviceId,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Device>, Fault> {
    let mut attempt = || {
        let mut minor = Vec::new();
        let read = match id {
            DeviceId::Pci(bdf) => pci::read(list, bdf, reader, &mut minor),
            DeviceId::Mdev(uuid) => mdev::read(list, uuid, reader, &mut minor),
        };
        (read, minor)
    };
    let mut last = attempt();
    for _ in 1..ATTEMPTS {
        if last.0.is_ok() {
            break;
        }
        last = attempt();
    }
    faults.append(&mut last.1);
    last.0
}
