//! What an earlier look found, and holds still: so that a vfiod that is started again need not read thousands of devices
//! before its first list.
//!
//! The kernel gives every entry of sysfs a number that no other entry gets before the next boot (kernel: `fs/kernfs/dir.c`,
//! `__kernfs_new_node`), and lists it beside each name. A function whose link in the list of its bus and link in its driver's
//! folder are the same entries as before is the same function, bound as before and not since: with it its IOMMU group and its
//! character device, which come and go with the one and the other. These links are read of all devices with a few
//! calls. Where one differs, the device is read anew. What can change below the same links (an administrator may write
//! `numa_node`, a device of another bus may join a group) is found by the full look that follows the first list.

mod file;

use super::{bound::Bound, listing::Listed, scan::Scan};
use rustc_hash::{FxHashMap, FxHashSet};
use vfiod_core::device::{Bdf, CdevName, Device, DeviceId, GroupId, Kind};

/// Functions and groups as they were read, with the entries of sysfs that vouch for them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Remembered {
    functions: FxHashMap<Bdf, Function>,
    /// Groups whose members are the functions that name them, and nobody else; whether they have no IOMMU.
    groups: FxHashMap<GroupId, bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    device: Device,
    /// Its link in the list of the bus.
    link: u64,
    /// The link in its driver's folder.
    bond: Option<u64>,
}

impl Remembered {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The device, if its entries are still the ones that were there when it was read.
    pub(super) fn device(&self, listed: Listed, bound: &Bound) -> Option<&Device> {
        let DeviceId::Pci(bdf) = listed.id else { return None };
        let Function { device, link, bond } = self.functions.get(&bdf)?;
        let now = bound.of(bdf)?.map(|(_, entry)| entry);
        (*link == listed.entry && *bond == now).then_some(device)
    }

    /// Whether the group has no IOMMU, if it is remembered.
    pub(super) fn group(&self, id: GroupId) -> Option<bool> {
        self.groups.get(&id).copied()
    }

    /// Remembers what a look at everything has found, and these entries, which were read before the devices: one that was
    /// exchanged in between is remembered with the entry of the one before, and so never believed.
    pub(super) fn of(scan: &Scan, links: &[Listed], bound: &Bound) -> Self {
        let mut remembered = Self::default();
        let links: FxHashMap<DeviceId, u64> = links.iter().map(|listed| (listed.id, listed.entry)).collect();
        let unsound: FxHashSet<DeviceId> = scan.faults.iter().filter_map(|fault| fault.device).collect();
        for device in scan.devices.iter().filter(|device| is_told_by_links(device) && !unsound.contains(&device.id)) {
            if let (DeviceId::Pci(bdf), Some(&link)) = (device.id, links.get(&device.id))
                && let Some(bond) = bond_of(device, bdf, bound)
            {
                remembered.functions.insert(bdf, Function { device: device.clone(), link, bond });
            }
        }
        for group in &scan.groups {
            let only_functions = group.members.iter().all(|member| {
                let Some(DeviceId::Pci(bdf)) = member.name.device() else { return false };
                remembered.functions.get(&bdf).is_some_and(|known| known.device.group == Some(group.id))
            });
            if only_functions {
                remembered.groups.insert(group.id, group.noiommu);
            }
        }
        remembered
    }
}

/// The link of its driver; `None` where device and driver do not say the same.
fn bond_of(device: &Device, bdf: Bdf, bound: &Bound) -> Option<Option<u64>> {
    match (bound.of(bdf)?, device.binding.driver()) {
        (Some((name, link)), Some(driver)) if name == driver => Some(Some(link)),
        (None, None) => Some(None),
        _ => None,
    }
}

/// Whether its links say all that can change of it.
fn is_told_by_links(device: &Device) -> bool {
    let whole = match device.cdevs.as_slice() {
        // While VFIO takes it, the driver's link is there before the character device (kernel: `drivers/base/dd.c`,
        // `really_probe`).
        [] => !device.binding.is_vfio(),
        [CdevName::Numbered(_)] => true,
        _ => false,
    };
    // Whether a virtual function on `nvidia` is a vGPU stands in a file.
    let is_nvidia = device.binding.driver().is_some_and(|driver| &**driver == "nvidia");
    whole && !(is_nvidia && matches!(device.kind, Kind::Pci { physfn: Some(_), .. }))
}
