//! PCI functions: `/sys/bus/pci/devices`.

use super::{
    entry::{Entry, List, number},
    fault::{Cause, Consequence, Fault},
    folder::Scratch,
    reader::Reader,
};
use rustix::io::Errno;
use vfiod_core::device::{Bdf, Binding, Device, Kind, PciId, is_vfio_driver};

/// Where the host lists its PCI functions.
pub(super) const LIST: &str = "/sys/bus/pci/devices";

/// Reads one PCI function; `None` where it is gone. Faults that leave it usable are added to `faults`.
pub(super) fn read(
    list: &List,
    bdf: Bdf,
    reader: &mut Reader<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Device>, Fault> {
    let Some(entry) = list.entry(bdf.into())? else { return Ok(None) };
    let Identity { pci_id, class } = match identity(&entry, &mut reader.scratch) {
        Ok(identity) => identity,
        Err(_) if !list.still_has(entry.id) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let driver = entry.driver(reader)?;
    let group = entry.group(&mut reader.scratch)?;
    if (driver.is_none() || group.is_none()) && !has_identity(&entry) {
        return Ok(None); // it vanished meanwhile: what is missing says nothing
    }
    let cdevs = entry.cdevs(driver.as_deref(), reader, faults);
    let scratch = &mut reader.scratch;
    let physfn = physfn(&entry, scratch, faults);
    let binding = match driver {
        None => Binding::Unbound,
        Some(name) if is_vfio_driver(&name) || !cdevs.is_empty() => Binding::Vfio(name),
        Some(name) if &*name == "nvidia" && physfn.is_some() && has_vgpu(&entry, scratch, faults) => {
            Binding::Vfio(name)
        }
        Some(name) => Binding::Host(name),
    };
    let numa = entry.numa("numa_node", scratch, faults);
    let kind = Kind::Pci { pci_id, class, physfn };
    Ok(Some(Device { id: entry.id, kind, binding, group, numa, cdevs }))
}

/// What a function is: its `PCI_ID=` and `PCI_CLASS=`.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    pci_id: PciId,
    /// 24 bits; 0 where it cannot be read.
    class: u32,
}

/// Reads `modalias`, which says all of it at once, or else `vendor`, `device` and `class`: they say what the lines `PCI_ID=`
/// and `PCI_CLASS=` of `uevent` say.
///
/// `uevent` itself is read only where they are missing: while an unbind or an unplug waits for somebody to close the device,
/// every reader of its `uevent` sleeps with it and cannot even be killed (kernel 6.1: `drivers/base/core.c`, `uevent_show`
/// takes the device's lock, which `device_release_driver` holds).
fn identity(entry: &Entry, scratch: &mut Scratch) -> Result<Identity, Fault> {
    if let Some(identity) = entry.folder.text("modalias", scratch).ok().and_then(Identity::from_modalias) {
        return Ok(identity);
    }
    let vendor = hexadecimal(entry, "vendor", scratch)?;
    let product = hexadecimal(entry, "device", scratch)?;
    if let (Some(vendor), Some(product)) = (vendor, product) {
        let pci_id = PciId { vendor, product };
        let class = hexadecimal(entry, "class", scratch).ok().flatten().unwrap_or(0);
        return Ok(Identity { pci_id, class });
    }
    let left_out = |cause| entry.fault("uevent", cause, Consequence::DeviceLeftOut);
    let text = entry.folder.text("uevent", scratch).map_err(|errno| left_out(errno.into()))?;
    let uevent = Uevent::parse(text);
    Ok(Identity { pci_id: uevent.pci_id.map_err(left_out)?, class: uevent.class })
}

/// Whether the function is still there to be known: the files go before the folder does.
fn has_identity(entry: &Entry) -> bool {
    ["modalias", "vendor", "uevent"].iter().any(|file| entry.folder.has(*file).unwrap_or(true))
}

impl Identity {
    /// Reads `pci:v000010DEd00001EB8sv000010DEsd000012A2bc03sc02i00` (kernel: `drivers/pci/pci-sysfs.c`, `modalias_show`).
    fn from_modalias(text: &[u8]) -> Option<Self> {
        let mut rest = text.trim_ascii_end();
        let mut number = |before: &[u8], digits: usize| {
            let (number, after) = rest.strip_prefix(before)?.split_at_checked(digits)?;
            rest = after;
            let plain = number.iter().all(u8::is_ascii_hexdigit);
            u32::from_str_radix(std::str::from_utf8(number).ok().filter(|_| plain)?, 16).ok()
        };
        let (vendor, product) = (number(b"pci:v", 8)?, number(b"d", 8)?);
        let _board = (number(b"sv", 8)?, number(b"sd", 8)?);
        let class = number(b"bc", 2)? << 16 | number(b"sc", 2)? << 8 | number(b"i", 2)?;
        let pci_id = PciId { vendor: vendor.try_into().ok()?, product: product.try_into().ok()? };
        rest.is_empty().then_some(Self { pci_id, class })
    }
}

/// A number such as `0x10de`; `None` where the file is missing.
fn hexadecimal<N: TryFrom<u32>>(entry: &Entry, name: &str, scratch: &mut Scratch) -> Result<Option<N>, Fault> {
    let left_out = |cause| entry.fault(name, cause, Consequence::DeviceLeftOut);
    let text = match entry.folder.text(name, scratch) {
        Ok(text) => text,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
        Err(errno) => return Err(left_out(errno.into())),
    };
    let digits = std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.strip_prefix("0x"));
    let number =
        digits.filter(|digits| !digits.starts_with('+')).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match number.and_then(|number| number.try_into().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(left_out(Cause::malformed(text, "a hexadecimal number"))),
    }
}

/// The physical function behind a virtual one (kernel: `drivers/pci/iov.c`, `pci_iov_sysfs_link`).
fn physfn(entry: &Entry, scratch: &mut Scratch, faults: &mut Vec<Fault>) -> Option<Bdf> {
    let cause = match entry.folder.link("physfn", scratch) {
        Ok(None) => return None,
        Ok(Some(name)) => match std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) {
            Some(bdf) => return Some(bdf),
            None => Cause::malformed(name, "a PCI address"),
        },
        Err(errno) => errno.into(),
    };
    faults.push(entry.fault("physfn", cause, Consequence::WithoutPhysfn));
    None
}

/// Whether a virtual function on the `nvidia` driver carries a vGPU: its type is a number other than 0
/// (KubeVirt: `pkg/virt-handler/device-manager`, `shouldPermitNvidia`).
fn has_vgpu(entry: &Entry, scratch: &mut Scratch, faults: &mut Vec<Fault>) -> bool {
    const TYPE: &str = "nvidia/current_vgpu_type";
    let cause = match entry.folder.text(TYPE, scratch) {
        Ok(text) => match number::<u64>(text.trim_ascii()) {
            Some(vgpu_type) => return vgpu_type != 0,
            None => Cause::malformed(text, "the number of a vGPU type"),
        },
        Err(Errno::NOENT | Errno::NODEV) => return false,
        Err(errno) => errno.into(),
    };
    faults.push(entry.fault(TYPE, cause, Consequence::NotVgpu));
    false
}

/// What is read of a PCI function's `uevent` file (kernel: `drivers/pci/pci-driver.c`, `pci_uevent`).
struct Uevent {
    pci_id: Result<PciId, Cause>,
    /// 24 bits; 0 where the line is missing or unreadable.
    class: u32,
}

impl Uevent {
    /// Takes bytes, because nothing promises that the other lines are UTF-8.
    fn parse(text: &[u8]) -> Self {
        let value = |key: &[u8]| text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key));
        let text_of = |key: &[u8]| value(key).and_then(|value| std::str::from_utf8(value.trim_ascii()).ok());
        let pci_id = match value(b"PCI_ID=") {
            Some(found) => text_of(b"PCI_ID=")
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| Cause::malformed(found, "vendor:product in hexadecimal")),
            None => Err(Cause::Missing("the line PCI_ID=")),
        };
        let class = text_of(b"PCI_CLASS=").and_then(|class| u32::from_str_radix(class, 16).ok()).unwrap_or(0);
        Self { pci_id, class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_modalias_says_all_or_nothing() {
        let text = b"pci:v000010DEd00001EB8sv000010DEsd000012A2bc03sc02i00\n";
        let pci_id = PciId { vendor: 0x10de, product: 0x1eb8 };
        assert_eq!(Identity::from_modalias(text), Some(Identity { pci_id, class: 0x03_0200 }));
        for cut in 0..text.len() - 1 {
            assert_eq!(Identity::from_modalias(&text[..cut]), None);
        }
        for text in [
            "pci:v000110DEd00001EB8sv000010DEsd000012A2bc03sc02i00",
            "pci:v+00010DEd00001EB8sv000010DEsd000012A2bc03sc02i00",
        ] {
            assert_eq!(Identity::from_modalias(text.as_bytes()), None);
        }
    }

    #[test]
    fn lines_around_the_id_may_be_anything() {
        let uevent = Uevent::parse(b"DRIVER=\xff\xfe\nPCI_CLASS=30200\nPCI_ID=10DE:1eb8\nPCI_SLOT_NAME=0000:3b:00.0");
        assert_eq!(uevent.pci_id.unwrap().to_string(), "10de:1eb8");
        assert_eq!(uevent.class, 0x03_0200);
    }

    #[test]
    fn a_cut_or_malformed_id_is_no_id() {
        for text in [&b"PCI_ID=10DE:1E"[..], b"PCI_ID=", b"XPCI_ID=10DE:1EB8", b"", b"PCI_SUBSYS_ID=10DE:1EB8"] {
            assert!(Uevent::parse(text).pci_id.is_err(), "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Uevent::parse(&text), Identity::from_modalias(&text));
        }
    }
}
