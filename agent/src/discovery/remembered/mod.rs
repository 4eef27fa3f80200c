//! What an earlier look found, and holds still: so that a vfiod that is started again need not read thousands of devices
//! before its first list.
//!
//! The kernel gives every entry of sysfs a number that no other entry gets before the next boot (kernel: `fs/kernfs/dir.c`,
//! `__kernfs_new_node`), and lists it beside each name. A function whose link in the list of its bus, link in its driver's
//! folder and character device are the same entries as before is the same function, bound as before: these three
//! are read of all devices with a few calls. Where one differs, the device is read anew. What can change below
//! the same links (an administrator may write `numa_node`) is found by the full look that follows the first list.

mod file;

use super::{bound::Bound, cdevs::Cdevs};
use rustc_hash::FxHashMap;
use vfiod_core::device::{Bdf, CdevName, CdevNames, Device, DeviceId, Group, GroupId, Kind};

/// Functions and groups as they were read, each with the entries of sysfs that vouch for it.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Remembered {
    functions: FxHashMap<Bdf, Function>,
    /// Who has which character device.
    cdevs: FxHashMap<Entry, Bdf>,
    groups: FxHashMap<GroupId, Circle>,
}

/// A numbered name and its entry.
type Entry = (u32, u64);

#[derive(Debug, Clone, PartialEq)]
struct Function {
    device: Device,
    /// Its link in the list of the bus.
    link: u64,
    /// The link in its driver's folder.
    bond: Option<u64>,
    /// The link of its character device in the class.
    node: Option<u64>,
}

/// A group whose members are the PCI functions that name it, and nobody else.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Circle {
    folder: u64,
    noiommu: bool,
}

/// What a look has seen of entries, and not of what stands in them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The links of the bus.
    pub(super) functions: Vec<(Bdf, u64)>,
    /// The links of drivers; `None` where they cannot be read.
    pub(super) bound: Option<Bound>,
    /// The folders of groups.
    pub(super) groups: Vec<(GroupId, u64)>,
}

impl Remembered {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.groups.is_empty()
    }

    /// The function, if its entries are still the ones that were there when it was read.
    pub(super) fn function(&self, bdf: Bdf, link: u64, bound: &Bound, cdevs: &Cdevs) -> Option<Device> {
        let Function { device, link: known, bond, .. } = self.functions.get(&bdf)?;
        let is_same = match (bound.of(bdf)?, bond) {
            (Some((_, now)), Some(before)) => now == *before,
            (None, None) => true,
            _ => false,
        };
        (*known == link && is_same && cdevs.of(device.id) == device.cdevs).then(|| device.clone())
    }

    /// Whose character device this entry of `/sys/class/vfio-dev` is.
    pub(super) fn owner(&self, name: &CdevName, entry: u64) -> Option<DeviceId> {
        let CdevName::Numbered(number) = name else { return None };
        self.cdevs.get(&(*number, entry)).map(|bdf| DeviceId::Pci(*bdf))
    }

    /// Whether the group has no IOMMU, if its folder is still the one that was there when it was read.
    pub(super) fn group(&self, id: GroupId, folder: u64) -> Option<bool> {
        self.groups.get(&id).filter(|circle| circle.folder == folder).map(|circle| circle.noiommu)
    }

    /// Remembers what a look at everything has found: `sound` says of a device that nothing of it was unreadable.
    ///
    /// The entries were read before the devices. A device that was exchanged in between is remembered with the entry
    /// of the one before, and so never believed.
    pub(super) fn of(
        devices: &[Device],
        groups: &[Group],
        entries: &Entries,
        cdevs: &Cdevs,
        sound: impl Fn(DeviceId) -> bool,
    ) -> Self {
        let mut remembered = Self::default();
        let Some(bound) = &entries.bound else { return remembered };
        let links: FxHashMap<Bdf, u64> = entries.functions.iter().copied().collect();
        for device in devices.iter().filter(|device| sound(device.id)) {
            let DeviceId::Pci(bdf) = device.id else { continue };
            let (Some(&link), Some(bond)) = (links.get(&bdf), bond_of(device, bdf, bound)) else { continue };
            if !is_numbered(&device.cdevs) || cdevs.of(device.id) != device.cdevs || says_more(device) {
                continue;
            }
            remembered.add(bdf, Function { device: device.clone(), link, bond, node: cdevs.entry_of(device.id) });
        }
        let folders: FxHashMap<GroupId, u64> = entries.groups.iter().copied().collect();
        for group in groups {
            let only_functions = group.members.iter().all(|member| {
                let Some(DeviceId::Pci(bdf)) = member.name.device() else { return false };
                remembered.functions.get(&bdf).is_some_and(|known| known.device.group == Some(group.id))
            });
            if let Some(&folder) = folders.get(&group.id).filter(|_| only_functions) {
                remembered.groups.insert(group.id, Circle { folder, noiommu: group.noiommu });
            }
        }
        remembered
    }

    fn add(&mut self, bdf: Bdf, function: Function) {
        if let (Some(CdevName::Numbered(number)), Some(node)) = (function.device.cdevs.first(), function.node) {
            self.cdevs.insert((*number, node), bdf);
        }
        self.functions.insert(bdf, function);
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

/// Whether it has no character devices but one of the usual name.
fn is_numbered(cdevs: &CdevNames) -> bool {
    matches!(cdevs.as_slice(), [] | [CdevName::Numbered(_)])
}

/// Whether what it is stands in a file besides: of a virtual function on `nvidia`, whether it is a vGPU.
fn says_more(device: &Device) -> bool {
    let is_nvidia = device.binding.driver().is_some_and(|driver| &**driver == "nvidia");
    is_nvidia && matches!(device.kind, Kind::Pci { physfn: Some(_), .. })
}
