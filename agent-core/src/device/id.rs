//! The identity of a device: what the kubelet, the sysfs and the virtual machine call it.

use super::{Bdf, GroupId};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// A device id as the kubelet sees it: a PCI address or an mdev UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// A PCI function.
    Pci(Bdf),
    /// A mediated device.
    Mdev(Uuid),
}

/// Why a text is not a device id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a PCI address (0000:3b:00.0) nor an mdev UUID")]
pub struct ParseDeviceIdError {
    text: String,
}

/// A device id as KubeVirt's own plugin gives it: the number of the IOMMU group, in the one spelling that the kernel uses.
#[must_use]
pub fn former_id(name: &[u8]) -> Option<GroupId> {
    let canonical = matches!(name, [b'0'] | [b'1'..=b'9', ..]) && name.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(name).ok().filter(|_| canonical)?.parse().ok()
}

impl DeviceId {
    /// The id in the one spelling that the kernel uses, read without building a text: a name in another spelling is
    /// nobody's.
    #[inline]
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if let Ok(usual) = <&[u8; 12]>::try_from(name) {
            return Bdf::from_usual_name(usual).map(Self::Pci);
        }
        let id: Self = std::str::from_utf8(name).ok()?.parse().ok()?;
        (!name.iter().any(u8::is_ascii_uppercase)).then_some(id)
    }

    /// Whether this is a mediated device.
    #[must_use]
    pub const fn is_mdev(self) -> bool {
        matches!(self, Self::Mdev(_))
    }
}

impl From<Bdf> for DeviceId {
    fn from(bdf: Bdf) -> Self {
        Self::Pci(bdf)
    }
}

impl From<Uuid> for DeviceId {
    fn from(uuid: Uuid) -> Self {
        Self::Mdev(uuid)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(bdf) => bdf.fmt(f),
            Self::Mdev(uuid) => uuid.hyphenated().fmt(f),
        }
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeviceId {
    type Err = ParseDeviceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(bdf) = text.parse() {
            return Ok(Self::Pci(bdf));
        }
        // Only the hyphenated form is a name in sysfs; `Uuid` would read others too.
        if text.len() == 36
            && text.as_bytes().get(8) == Some(&b'-')
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self::Mdev(uuid));
        }
        Err(ParseDeviceIdError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_id_is_a_number_in_one_spelling() {
        assert_eq!((former_id(b"0"), former_id(b"42"), former_id(b"4294967295")), (Some(0), Some(42), Some(u32::MAX)));
        for name in ["", "007", "+7", "-1", "4294967296", "7 ", "1.0", "0000:3b:00.0", "kvm0"] {
            assert_eq!(former_id(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn one_spelling_for_each_kind() {
        let pci: DeviceId = "0000:3b:00.0".parse().unwrap();
        assert_eq!(pci.to_string(), "0000:3b:00.0");
        let mdev: DeviceId = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001".parse().unwrap();
        assert!(mdev.is_mdev());
        assert_eq!(mdev.to_string(), "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001");
        assert_eq!(DeviceId::from_name(b"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"), Some(mdev));
        assert_eq!(DeviceId::from_name(b"83B8f4f2-509f-382f-3c1e-e6bfe0fa1001"), None);
        for text in ["12", "{83b8f4f2-509f-382f-3c1e-e6bfe0fa1001}", "83b8f4f2509f382f3c1ee6bfe0fa1001", ""] {
            assert!(text.parse::<DeviceId>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_name_is_read_as_its_text_would_be(text in "[0-9a-fA-F:.+ g-]{0,14}|[0-9a-f]{4,6}:[0-9a-fA-F]{2}:[0-3][0-9a-fg].[0-9a]") {
            let canonical = text.parse::<DeviceId>().ok().filter(|id| id.to_string() == text);
            proptest::prop_assert_eq!(DeviceId::from_name(text.as_bytes()), canonical);
        }
    }
}
