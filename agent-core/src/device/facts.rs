//! Everything that discovery reports of one device.

use super::{Bdf, CdevNames, DeviceId, GroupId, PciId};
use std::sync::Arc;

/// One PCI or mediated device, as sysfs showed it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// BDF or UUID.
    pub id: DeviceId,
    /// What is particular to its kind.
    pub kind: Kind,
    /// Whether it can be handed to a virtual machine, and through which driver.
    pub binding: Binding,
    /// Its IOMMU group. Absent where the host has no IOMMU, and for an unbound mdev.
    pub group: Option<GroupId>,
    /// Its NUMA node; absent where the kernel says -1.
    pub numa: Option<u32>,
    /// Names of its character devices below `/dev/vfio/devices`, from the `vfio-dev/` folder; sorted.
    pub cdevs: CdevNames,
}

/// What is particular to a kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A PCI function.
    Pci {
        /// Vendor and product, from the `PCI_ID=` line of its `uevent`.
        pci_id: PciId,
        /// Class code, 24 bits, from `PCI_CLASS=`; 0 when the line is missing.
        class: u32,
        /// The physical function of an SR-IOV virtual function.
        physfn: Option<Bdf>,
    },
    /// A mediated device. Apart, because a host may have thousands of PCI functions.
    Mdev(Box<Mdev>),
}

/// What is particular to a mediated device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mdev {
    /// What selectors are compared with: the text of `mdev_type/name`, or the type's folder name where that is missing.
    pub type_name: Arc<str>,
    /// The folder name of its type, such as `nvidia-222` or `mtty-1`.
    pub type_id: Arc<str>,
    /// The name of its parent: a BDF where it is a PCI device.
    pub parent: Arc<str>,
}

/// The driver that a device is bound to. Thousands of devices have one driver, and one text of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// A driver that hands it to VFIO, by name; an mdev may have one without a name.
    Vfio(Arc<str>),
    /// A driver of the host.
    Host(Arc<str>),
    /// No driver.
    Unbound,
}

impl Binding {
    /// The driver's name.
    #[must_use]
    pub fn driver(&self) -> Option<&Arc<str>> {
        match self {
            Self::Vfio(name) | Self::Host(name) => (!name.is_empty()).then_some(name),
            Self::Unbound => None,
        }
    }

    /// Whether the device is bound to a VFIO driver.
    #[must_use]
    pub const fn is_vfio(&self) -> bool {
        matches!(self, Self::Vfio(_))
    }
}

impl Device {
    /// Whether this is a PCI bridge (class 0604).
    #[must_use]
    pub const fn is_bridge(&self) -> bool {
        matches!(self.kind, Kind::Pci { class, .. } if class >> 8 == 0x0604)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host may have very many: each word here is 128 KiB for 16,384 of them.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_device_takes_no_more_words_than_these() {
        assert_eq!(size_of::<Device>(), 14 * 8);
    }
}
