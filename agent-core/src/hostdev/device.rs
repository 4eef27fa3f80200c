//! One host device of a domain.

use super::machine::{Entry, List};
use crate::{device::Bdf, variables::Carried};
use std::fmt;
use uuid::Uuid;

/// A device of the host in the domain of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// The place of its entry in [`Machine::entries`](super::Machine::entries).
    pub entry: usize,
    /// Its alias in libvirt and its id in QEMU, such as `ua-gpu-gpu1`.
    pub alias: String,
    /// The device.
    pub source: Source,
    /// The variable that it was taken from.
    pub variable: String,
    /// Whether it shows the guest's display.
    pub display: bool,
    /// Whether it shows one before the guest's driver is loaded.
    pub ramfb: bool,
}

/// Which device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A PCI function.
    Pci(Bdf),
    /// A mediated device.
    Mdev(Uuid),
    /// A USB device.
    Usb {
        /// The number of its bus.
        bus: u32,
        /// Its number on the bus.
        device: u32,
    },
}

/// The widest domain that virt-launcher reads (KubeVirt: `pkg/util/hardware/hw_utils.go`, `PCI_ADDRESS_PATTERN`).
const DOMAIN_MAX: u32 = 0xffff;

impl Source {
    /// What kind it is.
    #[must_use]
    pub const fn kind(self) -> Carried {
        match self {
            Self::Pci(_) => Carried::Pci,
            Self::Mdev(_) => Carried::Mdev,
            Self::Usb { .. } => Carried::Usb,
        }
    }

    /// Reads an address of a variable.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right, in words that continue `"the address" …`.
    pub(super) fn parse(kind: Carried, address: &str) -> Result<Self, (String, &'static str)> {
        match kind {
            Carried::Pci => pci(address).map(Self::Pci),
            Carried::Mdev => mdev(address).map(Self::Mdev),
            Carried::Usb => usb(address),
        }
    }
}

fn pci(address: &str) -> Result<Bdf, (String, &'static str)> {
    match address.parse::<Bdf>() {
        Ok(bdf) if bdf.domain() <= DOMAIN_MAX => Ok(bdf),
        Ok(_) => Err((
            "has a PCI domain of more than four digits, which virt-launcher does not accept".to_owned(),
            "such devices sit behind an Intel VMD controller: turn VMD off in the firmware, or keep them out of \
             permittedHostDevices",
        )),
        Err(_) => {
            let what = format!("is no PCI address{}", blank(address));
            Err((what, "the device plugin must write dddd:bb:dd.f, joined with commas and without blanks"))
        }
    }
}

fn mdev(address: &str) -> Result<Uuid, (String, &'static str)> {
    let hyphens = address.len() == 36 && address.as_bytes().get(8) == Some(&b'-');
    Uuid::try_parse(address).ok().filter(|_| hyphens).ok_or_else(|| {
        let what = format!("is no UUID of a mediated device{}", blank(address));
        (what, "the device plugin must write UUIDs, joined with commas and without blanks")
    })
}

fn usb(address: &str) -> Result<Source, (String, &'static str)> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let parts = address.split_once(':');
    parts.and_then(|(bus, device)| Some(Source::Usb { bus: number(bus)?, device: number(device)? })).ok_or_else(|| {
        let what = format!("is no USB device{}", blank(address));
        (what, "the device plugin must write bus:device in decimal, joined with commas and without blanks")
    })
}

fn blank(address: &str) -> &'static str {
    if address.chars().any(char::is_whitespace) { " (there is a blank in it)" } else { "" }
}

/// The alias of an entry's device (KubeVirt: `AliasPrefix` of `gpu` and `generic`, `createUSBHostDevice`,
/// `NewUserDefinedAlias`).
pub(super) fn alias(entry: &Entry, kind: Carried) -> String {
    let prefix = match (kind, entry.list) {
        (Carried::Usb, _) => "usb-host",
        (Carried::Pci | Carried::Mdev, List::Gpus) => "gpu",
        (Carried::Pci | Carried::Mdev, List::HostDevices) => "hostdevice",
    };
    format!("ua-{prefix}-{}", entry.name)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(bdf) => bdf.fmt(f),
            Self::Mdev(uuid) => uuid.hyphenated().fmt(f),
            Self::Usb { bus, device } => write!(f, "{bus}:{device}"),
        }
    }
}
