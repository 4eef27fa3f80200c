//! What an entry selects devices by.

use crate::device::PciId;
use std::{borrow::Cow, fmt};

/// A selector in its normal form: two selectors that select the same devices are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Selector {
    /// `pciVendorSelector`.
    Pci(PciId),
    /// `mdevNameSelector`, normalized.
    Mdev(String),
}

/// An mdev type's name in the form that is compared: surrounding blanks gone, inner spaces as `_`, case kept.
///
/// KubeVirt does the same to both sides (`pkg/virt-handler/device-manager/mediated_device.go`).
#[must_use]
pub fn normal_mdev_name(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    if name.contains(' ') { Cow::Owned(name.replace(' ', "_")) } else { Cow::Borrowed(name) }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(id) => write!(f, "PCI {id}"),
            Self::Mdev(name) => write!(f, "mdev {name}"),
        }
    }
}
