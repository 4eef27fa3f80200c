//! What is remembered as it lies in a file: columns of numbers, in the encoding of protocol buffers.

use super::{Function, Remembered};
use crate::discovery::{host_root::HostRoot, pci};
use prost::Message;
use std::{fs, os::unix::fs::MetadataExt, sync::Arc};
use vfiod_core::device::{Bdf, Binding, CdevName, Device, Kind, PciId};

/// Says when the kernel was started: the entries of sysfs are numbered anew then.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The whole file.
#[derive(Clone, PartialEq, Message)]
struct File {
    /// Of which boot and of which tree.
    #[prost(string, tag = "1")]
    place: String,
    #[prost(string, repeated, tag = "2")]
    drivers: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    functions: Vec<FunctionLine>,
    #[prost(message, repeated, tag = "4")]
    groups: Vec<GroupLine>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct FunctionLine {
    #[prost(uint64, tag = "1")]
    address: u64,
    #[prost(uint64, tag = "2")]
    link: u64,
    #[prost(uint64, optional, tag = "3")]
    bond: Option<u64>,
    /// The place of its driver among the drivers.
    #[prost(uint32, optional, tag = "4")]
    driver: Option<u32>,
    #[prost(bool, tag = "5")]
    vfio: bool,
    #[prost(uint32, tag = "6")]
    pci_id: u32,
    #[prost(uint32, tag = "7")]
    class: u32,
    #[prost(uint64, optional, tag = "8")]
    physfn: Option<u64>,
    #[prost(uint32, optional, tag = "9")]
    group: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    numa: Option<u32>,
    #[prost(uint32, optional, tag = "11")]
    cdev: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct GroupLine {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bool, tag = "2")]
    noiommu: bool,
}

/// This boot of the kernel and this tree of sysfs, whose entries are numbered together.
fn place(root: &HostRoot) -> Option<String> {
    let boot = fs::read_to_string(BOOT).ok()?;
    let list = fs::metadata(root.at(pci::LIST)).ok()?;
    Some(format!("{} {}:{}", boot.trim(), list.dev(), list.ino()))
}

impl Remembered {
    /// Reads what [`encode`](Self::encode) wrote; `None` where it was written of another boot or tree, or by another
    /// version that writes otherwise.
    #[must_use]
    pub fn decode(bytes: &[u8], root: &HostRoot) -> Option<Self> {
        let file = File::decode(bytes).ok()?;
        if file.place != place(root)? {
            return None;
        }
        let drivers: Vec<Arc<str>> = file.drivers.into_iter().map(Arc::from).collect();
        let mut remembered = Self::default();
        remembered.functions.reserve(file.functions.len());
        remembered.groups.reserve(file.groups.len());
        for line in file.functions {
            let bdf = Bdf::from_packed(line.address)?;
            remembered.functions.insert(bdf, line.read(bdf, &drivers)?);
        }
        remembered.groups.extend(file.groups.into_iter().map(|GroupLine { id, noiommu }| (id, noiommu)));
        Some(remembered)
    }

    /// The bytes of a file; `None` where the host does not say which boot this is.
    #[must_use]
    pub fn encode(&self, root: &HostRoot) -> Option<Vec<u8>> {
        let place = place(root)?;
        let mut drivers: Vec<&Arc<str>> =
            self.functions.values().filter_map(|known| known.device.binding.driver()).collect();
        drivers.sort_unstable();
        drivers.dedup();
        let mut functions: Vec<FunctionLine> =
            self.functions.iter().filter_map(|(&bdf, known)| FunctionLine::of(bdf, known, &drivers)).collect();
        functions.sort_unstable_by_key(|line| line.address);
        let mut groups: Vec<GroupLine> = self.groups.iter().map(|(&id, &noiommu)| GroupLine { id, noiommu }).collect();
        groups.sort_unstable_by_key(|line| line.id);
        let drivers = drivers.into_iter().map(|driver| driver.as_ref().to_owned()).collect();
        Some(File { place, drivers, functions, groups }.encode_to_vec())
    }
}

impl FunctionLine {
    fn of(bdf: Bdf, known: &Function, drivers: &[&Arc<str>]) -> Option<Self> {
        let Function { device, link, bond } = known;
        let Kind::Pci { pci_id, class, physfn } = device.kind else { return None };
        let driver = device.binding.driver().map(|driver| drivers.binary_search(&driver)).transpose().ok()?;
        Some(Self {
            address: bdf.packed(),
            link: *link,
            bond: *bond,
            driver: driver.map(u32::try_from).transpose().ok()?,
            vfio: device.binding.is_vfio(),
            pci_id: u32::from(pci_id.vendor) << 16 | u32::from(pci_id.product),
            class,
            physfn: physfn.map(Bdf::packed),
            group: device.group,
            numa: device.numa,
            cdev: match device.cdevs.first() {
                Some(CdevName::Numbered(number)) => Some(*number),
                _ => None,
            },
        })
    }

    /// `None` where the line is not one that was written here.
    fn read(self, bdf: Bdf, drivers: &[Arc<str>]) -> Option<Function> {
        let driver = match self.driver {
            Some(place) => Some(Arc::clone(drivers.get(usize::try_from(place).ok()?)?)),
            None => None,
        };
        let [v1, v0, p1, p0] = self.pci_id.to_be_bytes();
        let pci_id = PciId { vendor: u16::from_be_bytes([v1, v0]), product: u16::from_be_bytes([p1, p0]) };
        let physfn = match self.physfn {
            Some(word) => Some(Bdf::from_packed(word)?),
            None => None,
        };
        let device = Device {
            id: bdf.into(),
            kind: Kind::Pci { pci_id, class: self.class, physfn },
            binding: match driver {
                None => Binding::Unbound,
                Some(name) if self.vfio => Binding::Vfio(name),
                Some(name) => Binding::Host(name),
            },
            group: self.group,
            numa: self.numa,
            cdevs: self.cdev.map(CdevName::Numbered).into_iter().collect(),
        };
        Some(Function { device, link: self.link, bond: self.bond })
    }
}
