//! PCI addresses and identities, as the kernel writes them.

use std::{fmt, str::FromStr};

use super::NodeError;

/// A PCI address, `dddd:bb:dd.f`.
///
/// The domain has more than four digits where a VMD bridge made it (kernel: `drivers/pci/controller/vmd.c`,
/// `vmd_find_free_domain` starts at `0x10000`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) domain: u32,
    pub(super) bus: u8,
    pub(super) device: u8,
    pub(super) function: u8,
}

impl Address {
    /// The folder of the root bus on which this device would sit without a bridge above it.
    pub(super) fn root_bus(self) -> String {
        format!("pci{:04x}:{:02x}", self.domain, self.bus)
    }

    /// The address of a virtual function (kernel: `drivers/pci/iov.c`, `pci_iov_virtfn_bus` and `pci_iov_virtfn_devfn`).
    pub(super) fn virtual_function(self, offset: u16, stride: u16, index: u16) -> Self {
        let devfn = u16::from(self.device) << 3 | u16::from(self.function);
        let number = devfn.wrapping_add(offset).wrapping_add(stride.wrapping_mul(index));
        let [over, devfn] = number.to_be_bytes();
        Self { domain: self.domain, bus: self.bus.wrapping_add(over), device: devfn >> 3, function: devfn & 7 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl FromStr for Address {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        parse_address(text).ok_or_else(|| NodeError::Address(text.to_owned()))
    }
}

fn parse_address(text: &str) -> Option<Address> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    if domain.len() < 4 || bus.len() != 2 || device.len() != 2 || function.len() != 1 {
        return None;
    }
    let device = u8::from_str_radix(device, 16).ok().filter(|&number| number < 32)?;
    let function = u8::from_str_radix(function, 16).ok().filter(|&number| number < 8)?;
    Some(Address {
        domain: u32::from_str_radix(domain, 16).ok()?,
        bus: u8::from_str_radix(bus, 16).ok()?,
        device,
        function,
    })
}

/// A vendor and a product number, written `VVVV:DDDD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PciId {
    pub(super) vendor: u16,
    pub(super) product: u16,
}

impl FromStr for PciId {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let number = |part: &str| (part.len() == 4).then(|| u16::from_str_radix(part, 16).ok()).flatten();
        text.split_once(':')
            .and_then(|(vendor, product)| Some(Self { vendor: number(vendor)?, product: number(product)? }))
            .ok_or_else(|| NodeError::PciId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["0000:3b:00.0", "10000:e0:1f.7", "ffff:ff:00.1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "3b:00.0", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00", "000g:3b:00.0"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn virtual_functions_run_over_into_the_next_bus() {
        let pf: Address = "0000:41:00.0".parse().unwrap();
        assert_eq!(pf.virtual_function(4, 1, 0).to_string(), "0000:41:00.4");
        assert_eq!(pf.virtual_function(4, 1, 4).to_string(), "0000:41:01.0");
        assert_eq!(pf.virtual_function(256, 2, 1).to_string(), "0000:42:00.2");
    }
}
