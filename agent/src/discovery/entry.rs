//! One device's folder, and the attributes that PCI functions and mdevs have in common.

use super::{
    fault::{Cause, Consequence, Fault},
    folder::{Folder, Scratch},
    host_root::HostRoot,
    reader::Reader,
};
use rustix::io::Errno;
use std::sync::Arc;
use vfiod_core::device::{CdevName, CdevNames, DeviceId, GroupId, is_vfio_driver};

/// The list of devices of one bus.
pub(super) struct List {
    /// The host's path of it.
    pub(super) path: &'static str,
    pub(super) folder: Folder,
}

/// A device that is in a list, its folder held open.
pub(super) struct Entry {
    list: &'static str,
    pub(super) id: DeviceId,
    pub(super) folder: Folder,
}

impl List {
    /// Opens the list; `None` where the host has no such bus.
    ///
    /// The kernel makes a bus and its list of devices together (`drivers/base/bus.c`, `bus_register`): one without the
    /// other, or no buses at all, is not a host without devices but a wrong or unreadable place.
    pub(super) fn open(root: &HostRoot, path: &'static str) -> Result<Option<Self>, Fault> {
        let errno = match Folder::open(root.at(path)) {
            Ok(folder) => return Ok(Some(Self { path, folder })),
            Err(errno) => errno,
        };
        let bus = path.trim_end_matches("/devices");
        if errno == Errno::NOENT
            && matches!(Folder::open(root.at(bus)), Err(Errno::NOENT))
            && Folder::open(root.at("/sys/bus")).is_ok()
        {
            return Ok(None);
        }
        Err(Fault::new(path, errno, Consequence::ListIncomplete))
    }

    /// Opens a device of this list; `None` where it is gone.
    ///
    /// The kernel takes a device's link out of the list before its folder goes (kernel: `drivers/base/core.c`,
    /// `device_del`), so a link that leads nowhere is no device on its way out: it is broken.
    pub(super) fn entry(&self, id: DeviceId) -> Result<Option<Entry>, Fault> {
        let name = id.to_string();
        let cause = match self.folder.folder(&*name) {
            Ok(folder) => return Ok(Some(Entry { list: self.path, id, folder })),
            Err(Errno::NOENT | Errno::NODEV) => match self.folder.has(&*name) {
                Ok(false) => return Ok(None),
                Ok(true) => Cause::BrokenLink,
                Err(errno) => errno.into(),
            },
            Err(errno) => errno.into(),
        };
        Err(Fault::new(format!("{}/{name}", self.path), cause, Consequence::DeviceLeftOut).of(id))
    }

    /// Whether the list still has the device. Where that cannot be told, it has.
    pub(super) fn still_has(&self, id: DeviceId) -> bool {
        self.folder.has(&*id.to_string()).unwrap_or(true)
    }
}

impl Entry {
    pub(super) fn fault(&self, attribute: &str, cause: impl Into<Cause>, consequence: Consequence) -> Fault {
        Fault::new(format!("{}/{}/{attribute}", self.list, self.id), cause, consequence).of(self.id)
    }

    /// The name of the bound driver.
    pub(super) fn driver(&self, reader: &mut Reader<'_>) -> Result<Option<Arc<str>>, Fault> {
        let Reader { scratch, names, .. } = reader;
        match self.folder.link("driver", scratch) {
            Ok(name) => Ok(name.map(|name| names.of(name))),
            Err(errno) => Err(self.fault("driver", errno, Consequence::DeviceLeftOut)),
        }
    }

    /// The number of the IOMMU group.
    pub(super) fn group(&self, scratch: &mut Scratch) -> Result<Option<GroupId>, Fault> {
        match self.folder.link("iommu_group", scratch) {
            Ok(None) => Ok(None),
            Ok(Some(name)) => number(name).map(Some).ok_or_else(|| {
                let cause = Cause::malformed(name, "the number of an IOMMU group");
                self.fault("iommu_group", cause, Consequence::DeviceLeftOut)
            }),
            Err(errno) => Err(self.fault("iommu_group", errno, Consequence::DeviceLeftOut)),
        }
    }

    /// The NUMA node in the file of this name. The kernel writes -1 for "none" (`drivers/pci/pci-sysfs.c`,
    /// `numa_node_show`), and that is not node 0.
    pub(super) fn numa(&self, attribute: &str, scratch: &mut Scratch, faults: &mut Vec<Fault>) -> Option<u32> {
        let cause = match self.folder.text(attribute, scratch) {
            Ok(text) => match number::<i64>(text.trim_ascii()) {
                Some(node) if node < 0 => return None,
                Some(node) if u32::try_from(node).is_ok() => return u32::try_from(node).ok(),
                _ => Cause::malformed(text, "the number of a NUMA node"),
            },
            Err(Errno::NOENT | Errno::NODEV) => return None,
            Err(errno) => errno.into(),
        };
        faults.push(self.fault(attribute, cause, Consequence::WithoutNuma));
        None
    }

    /// The names of the device's nodes below `/dev/vfio/devices`, sorted. The folder exists while the device is
    /// registered with VFIO (kernel: `drivers/vfio/vfio_main.c`, class `vfio-dev`, from 6.1 on).
    ///
    /// What was read of the whole host is believed where the driver says the same; else one of the two has changed since.
    pub(super) fn cdevs(&self, driver: Option<&str>, reader: &Reader<'_>, faults: &mut Vec<Fault>) -> CdevNames {
        let known = reader.known.cdevs.map(|cdevs| cdevs.of(self.id));
        if let Some(known) = known
            && (if known.is_empty() { driver.is_none() } else { driver.is_some_and(is_vfio_driver) })
        {
            return known;
        }
        let mut names = CdevNames::new();
        match self.folder.names("vfio-dev", |name| names.push(CdevName::from(&*String::from_utf8_lossy(name)))) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => names.sort_unstable(),
            Err(errno) => {
                names.clear();
                faults.push(self.fault("vfio-dev", errno, Consequence::WithoutCdevs));
            }
        }
        names
    }
}

/// A decimal number, alone in its text.
pub(super) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
