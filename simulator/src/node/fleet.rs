//! Many devices of one kind.

use super::{MdevSpec, MdevType, PciSpec};

/// Device numbers on a bus (kernel: `include/uapi/linux/pci.h`, `PCI_DEVFN`).
const DEVICES_PER_BUS: usize = 32;
/// Bus 0 is left to what a test names by hand.
const BUSES_PER_DOMAIN: usize = 255;

/// Many PCI functions of one kind, spread over NUMA nodes and buses.
#[derive(Debug, Clone)]
#[must_use]
pub struct PciFleet {
    pci_id: String,
    count: usize,
    class: u32,
    driver: Option<String>,
    numa_nodes: usize,
    functions_per_group: usize,
    first_domain: u32,
}

impl PciFleet {
    /// `count` functions with this vendor and product number, each a device of its own with a group of its own, without a
    /// driver and a NUMA node. Their addresses start at `0000:01:00.0`.
    pub fn new(pci_id: impl Into<String>, count: usize) -> Self {
        Self {
            pci_id: pci_id.into(),
            count,
            class: 0x03_02_00,
            driver: None,
            numa_nodes: 0,
            functions_per_group: 1,
            first_domain: 0,
        }
    }

    /// The class code of each.
    pub const fn class(mut self, class: u32) -> Self {
        self.class = class;
        self
    }

    /// The driver of each.
    pub fn driver(mut self, driver: impl Into<String>) -> Self {
        self.driver = Some(driver.into());
        self
    }

    /// Spreads them evenly over this many NUMA nodes; a bus belongs to one of them.
    pub const fn numa_nodes(mut self, nodes: usize) -> Self {
        self.numa_nodes = nodes;
        self
    }

    /// Makes each device have this many functions (1 to 8), which share one IOMMU group.
    pub fn functions_per_group(mut self, functions: usize) -> Self {
        self.functions_per_group = functions.clamp(1, 8);
        self
    }

    /// The PCI domain in which their addresses start: one for each fleet keeps them apart.
    pub const fn first_domain(mut self, domain: u32) -> Self {
        self.first_domain = domain;
        self
    }

    /// The addresses, in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        (0..self.count).map(|index| self.address(index).0).collect()
    }

    /// The descriptions, in order.
    #[must_use]
    pub fn functions(&self) -> Vec<PciSpec> {
        (0..self.count).map(|index| self.function(index)).collect()
    }

    fn function(&self, index: usize) -> PciSpec {
        let (address, numa) = self.address(index);
        let mut spec = PciSpec::new(address, &self.pci_id).class(self.class).numa(numa);
        if let Some(driver) = &self.driver {
            spec = spec.driver(driver);
        }
        let function = index % self.functions_per_group;
        if function == 0 { spec } else { spec.sharing_group_with(self.address(index - function).0) }
    }

    /// The address and NUMA node of one: device after device takes the NUMA nodes in turn, each of which fills a bus
    /// before it begins the next.
    fn address(&self, index: usize) -> (String, i32) {
        let (device, function) = (index / self.functions_per_group, index % self.functions_per_group);
        let nodes = self.numa_nodes.max(1);
        let (numa, on_node) = (device % nodes, device / nodes);
        let bus = on_node / DEVICES_PER_BUS * nodes + numa;
        let domain = self.first_domain as usize + bus / BUSES_PER_DOMAIN;
        let (bus, device) = (bus % BUSES_PER_DOMAIN + 1, on_node % DEVICES_PER_BUS);
        let numa = if self.numa_nodes == 0 { -1 } else { i32::try_from(numa).unwrap_or(-1) };
        (format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"), numa)
    }
}

/// Many mdevs of one type over several PCI parents.
#[derive(Debug, Clone)]
#[must_use]
pub struct MdevFleet {
    offered: MdevType,
    count: usize,
    parents: PciFleet,
    driver: String,
}

impl MdevFleet {
    /// `count` mdevs of this type, spread evenly over the parents, which the fleet makes, too: each offers the type for
    /// as many as it gets. Without a driver of their own the parents are on `nvidia`.
    pub fn new(offered: MdevType, count: usize, parents: PciFleet) -> Self {
        Self { offered, count, parents, driver: "vfio_mdev".to_owned() }
    }

    /// The driver of each mdev: `vfio_mdev` unless said.
    pub fn driver(mut self, driver: impl Into<String>) -> Self {
        self.driver = driver.into();
        self
    }

    /// The UUIDs, in order: the same each time.
    #[must_use]
    pub fn uuids(&self) -> Vec<String> {
        (0..self.count).map(|index| self.uuid(index)).collect()
    }

    /// The addresses of the parents.
    #[must_use]
    pub fn parent_addresses(&self) -> Vec<String> {
        self.parents.addresses()
    }

    pub(super) fn parents(&self) -> Vec<PciSpec> {
        let each = self.count.div_ceil(self.parents.count.max(1));
        let offered = self.offered.clone().available(u32::try_from(each).unwrap_or(u32::MAX));
        let driver = self.parents.driver.as_deref().unwrap_or("nvidia");
        self.parents.functions().into_iter().map(|spec| spec.driver(driver).mdev_type(offered.clone())).collect()
    }

    pub(super) fn mdevs(&self) -> Vec<MdevSpec> {
        let parents = self.parent_addresses();
        self.uuids()
            .into_iter()
            .zip(parents.iter().cycle())
            .map(|(uuid, parent)| MdevSpec::new(uuid, parent, &self.offered.id).driver(&self.driver))
            .collect()
    }

    fn uuid(&self, index: usize) -> String {
        // The type's name takes part, so that two fleets of one node differ.
        let mut word = self.offered.id.bytes().fold(index as u64, |word, byte| scatter(word ^ u64::from(byte)));
        let mut bytes = [0_u8; 16];
        for half in bytes.chunks_mut(8) {
            word = scatter(word);
            half.copy_from_slice(&word.to_ne_bytes());
        }
        uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string()
    }
}

/// A step of `SplitMix64`: one word in, a word that looks random out; no two give the same.
const fn scatter(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_fleet_fills_buses_in_turn_and_goes_on_in_the_next_domain() {
        let fleet = PciFleet::new("10DE:1EB8", 16_384).numa_nodes(2);
        let addresses = fleet.addresses();
        assert_eq!(addresses[..3], ["0000:01:00.0", "0000:02:00.0", "0000:01:01.0"]);
        assert_eq!(addresses[64], "0000:03:00.0");
        assert!(addresses[16_383].starts_with("0002:"), "{}", addresses[16_383]);
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 16_384);
    }

    #[test]
    fn functions_of_one_device_follow_each_other() {
        let fleet = PciFleet::new("10DE:1EB8", 5).functions_per_group(2);
        assert_eq!(fleet.addresses(), ["0000:01:00.0", "0000:01:00.1", "0000:01:01.0", "0000:01:01.1", "0000:01:02.0"]);
    }

    #[test]
    fn uuids_differ_and_are_the_same_each_time() {
        let fleet = |id: &str| MdevFleet::new(MdevType::new(id, "T"), 1000, PciFleet::new("10DE:1EB8", 4));
        assert_eq!(fleet("a-1").uuids(), fleet("a-1").uuids());
        let both: BTreeSet<_> = fleet("a-1").uuids().into_iter().chain(fleet("a-2").uuids()).collect();
        assert_eq!(both.len(), 2000);
    }
}
