//! A host as vfiod holds it in memory, for benchmarks that need no file system.

use std::{collections::BTreeSet, sync::Arc, time::Duration};
use vfiod_core::{
    allocator::Resource,
    device::{Bdf, Binding, CdevName, DevNodes, Device, DeviceId, Group, Kind, Member},
    inventory::{Completeness, Inventory},
    permit::{Permit, ServeMode, parse},
};

/// The moment at which everything happens.
pub const NOW: Duration = Duration::from_secs(100);

/// A host with one resource, and what discovery says of it.
#[derive(Debug)]
pub struct Fleet {
    /// What vfiod knows.
    pub inventory: Inventory,
    /// The resource.
    pub resource: Arc<Resource>,
    devices: Vec<Device>,
    groups: Vec<Group>,
    nodes: DevNodes,
}

/// The id of a device by its number.
#[must_use]
pub fn id(number: u32) -> DeviceId {
    let [_, domain, bus, device] = number.to_be_bytes();
    let bdf = Bdf::new(domain.into(), bus, device >> 3, device & 7);
    bdf.map_or_else(|| uuid::Uuid::from_u128(number.into()).into(), Into::into)
}

/// What is permitted: the devices of the fleet, and `others` resources that have none.
///
/// # Panics
/// Never: the text is sound.
#[must_use]
pub fn permit(others: u32) -> Arc<Permit> {
    let mut text = String::from("permittedHostDevices:\n  pciHostDevices:\n");
    text += "  - {pciVendorSelector: '10de:1eb8', resourceName: a.com/gpu}\n";
    for number in 0..others {
        text += &format!("  - {{pciVendorSelector: '8086:{number:04x}', resourceName: a.com/other{number}}}\n");
    }
    Arc::new(parse(&text, ServeMode::All).map(|parsed| parsed.permit).unwrap_or_default())
}

impl Fleet {
    /// `count` functions, each in a group of its own, on two NUMA nodes.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let mut nodes = DevNodes { container: true, ..DevNodes::default() };
        let (mut devices, mut groups) = (Vec::new(), Vec::new());
        for number in 0..count {
            let pci_id = vfiod_core::device::PciId { vendor: 0x10de, product: 0x1eb8 };
            let kind = Kind::Pci { pci_id, class: 0x03_0200, physfn: None };
            let binding = Binding::Vfio("vfio-pci".into());
            let (id, group, numa) = (id(number), Some(number), Some(number % 2));
            let device = Device { id, kind, binding, group, numa, cdevs: [CdevName::Numbered(number)].into() };
            groups.push(Group { id: number, noiommu: false, members: [Member::from(&device)].into() });
            devices.push(device);
            nodes.groups.insert(number);
        }
        let mut inventory = Inventory::default();
        inventory.set_permit(permit(0));
        let resource = inventory.settle(NOW).opened.pop().unwrap_or_else(|| unreachable!("one resource is permitted"));
        let mut fleet = Self { inventory, resource, devices, groups, nodes };
        fleet.scan();
        fleet
    }

    /// Tells all facts anew, as a rescan does.
    pub fn scan(&mut self) {
        let complete = Completeness { pci: true, mdev: true, unreadable: BTreeSet::new() };
        let (devices, groups) = (self.devices.clone(), self.groups.clone());
        self.inventory.scanned(devices, groups, Some(self.nodes.clone()), &complete);
        self.inventory.settle(NOW);
    }

    /// Lets all claims end that the inventory has not heard of: their time is over.
    pub fn claims_end(&mut self) {
        self.inventory.set_permit(Arc::clone(&permit(0)));
        self.inventory.settle(NOW * 2);
    }

    /// The ids as the kubelet knows them.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.devices.iter().map(|device| device.id.to_string()).collect()
    }
}
