//! The vendor and device number of a PCI function.

use std::{fmt, str::FromStr};

/// `vendor:product` of a PCI device, written `VVVV:DDDD`.
///
/// KubeVirt compares it, without regard to case, with the `PCI_ID=` line of the device's `uevent`
/// (`pkg/virt-handler/device-manager/pci_device.go`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciId {
    /// The vendor's number.
    pub vendor: u16,
    /// The product's number.
    pub product: u16,
}

/// Why a text is not `VVVV:DDDD`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not vendor:product: write four hexadecimal digits, a colon and four more, as in 10DE:1EB8")]
pub struct ParsePciIdError {
    text: String,
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

impl fmt::Debug for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PciId {
    type Err = ParsePciIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let plain = part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u16::from_str_radix(part, 16).ok()).flatten()
        };
        text.split_once(':')
            .and_then(|(vendor, product)| Some(Self { vendor: number(vendor)?, product: number(product)? }))
            .ok_or_else(|| ParsePciIdError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count_and_width_does() {
        let upper: PciId = "10DE:1EB8".parse().unwrap();
        assert_eq!(upper, "10de:1eb8".parse().unwrap());
        for text in ["10DE", "10DE:1EB", "10DE:1EB8:", "010DE:1EB8", "10DE 1EB8", " 10DE:1EB8", "+0DE:1EB8", "10DE:*"] {
            assert!(text.parse::<PciId>().is_err(), "{text:?}");
        }
    }
}
