//! A small node to play scenes on: a host that tests change, a kubelet that says who has what, and a clock.

mod claims;
mod generated;
mod groups;
mod holders;
mod host;
mod life;
mod limits;
mod listing;
#[cfg(loom)]
mod loom;
mod takeover;

use super::*;
use crate::{
    allocator::{Refusal, Register, Wish},
    device::{Bdf, Binding, Kind, Mdev, Member, Node as DevNode},
    health::{Health, Reason},
    ownership::{Allocation, Owner, Pod, Source},
    permit::ServeMode,
};
use std::time::Duration;

const GPU: &str = "nvidia.com/gpu";
const AUDIO: &str = "nvidia.com/audio";
const VGPU: &str = "nvidia.com/vgpu";
const PERMIT: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu}
  - {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/audio}
  mediatedDevices:
  - {mdevNameSelector: GRID T4-1Q, resourceName: nvidia.com/vgpu}
";

fn permit(text: &str) -> Arc<Permit> {
    let parsed = crate::permit::parse(text, ServeMode::Auto).unwrap();
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    Arc::new(parsed.permit)
}

/// The GPU of the card on this bus.
fn gpu(bus: u8) -> DeviceId {
    Bdf::new(0, bus, 0, 0).unwrap().into()
}

/// Its audio function.
fn audio(bus: u8) -> DeviceId {
    Bdf::new(0, bus, 0, 1).unwrap().into()
}

fn mdev(number: u8) -> DeviceId {
    format!("83b8f4f2-509f-382f-3c1e-e6bfe0fa10{number:02x}").parse().unwrap()
}

/// A host. The cards on bus `n` are in group `n`.
#[derive(Debug, Clone, Default)]
struct World {
    devices: BTreeMap<DeviceId, Device>,
    /// Members of groups that are no devices of ours.
    others: BTreeMap<GroupId, Member>,
    noiommu: BTreeSet<GroupId>,
    nodes: DevNodes,
}

impl World {
    /// A host with `/dev/vfio/vfio`.
    fn new() -> Self {
        Self { nodes: DevNodes { container: true, ..DevNodes::default() }, ..Self::default() }
    }

    /// Plugs a function in, bound to vfio-pci.
    fn plug(&mut self, id: DeviceId) {
        let DeviceId::Pci(bdf) = id else { panic!("{id} is no PCI function") };
        let pci_id = if bdf.function() == 0 { "10de:1eb8" } else { "10de:10f8" };
        let kind = Kind::Pci { pci_id: pci_id.parse().unwrap(), class: 0x03_0000, physfn: None };
        let binding = Binding::Vfio("vfio-pci".into());
        let group = Some(GroupId::from(bdf.bus()));
        self.devices.insert(id, Device { id, kind, binding, group, numa: Some(0), cdevs: Default::default() });
        self.nodes.groups.extend(group);
    }

    /// Makes a mediated device in group `100 + number`.
    fn create_mdev(&mut self, number: u8) {
        let (type_name, type_id) = ("GRID T4-1Q".into(), "nvidia-222".into());
        let kind = Kind::Mdev(Box::new(Mdev { type_name, type_id, parent: "0000:3b:00.0".into() }));
        let (id, group) = (mdev(number), Some(100 + GroupId::from(number)));
        let binding = Binding::Vfio("vfio_mdev".into());
        self.devices.insert(id, Device { id, kind, binding, group, numa: None, cdevs: Default::default() });
        self.nodes.groups.extend(group);
        self.noiommu.extend(group); // the kernel says so of all of them
    }

    fn unplug(&mut self, id: DeviceId) {
        let device = self.devices.remove(&id).unwrap();
        let group = device.group.unwrap();
        if self.members(group).is_none() {
            self.nodes.groups.remove(&group);
        }
    }

    fn bind(&mut self, id: DeviceId, binding: Binding) {
        self.devices.get_mut(&id).unwrap().binding = binding;
    }

    fn members(&self, id: GroupId) -> Option<Group> {
        self.groups().remove(&id)
    }

    fn groups(&self) -> BTreeMap<GroupId, Group> {
        let devices = self.devices.values().filter_map(|device| Some((device.group?, Member::from(device))));
        let others = self.others.iter().map(|(&group, member)| (group, member.clone()));
        let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
        for (id, member) in devices.chain(others) {
            let noiommu = self.noiommu.contains(&id);
            groups.entry(id).or_insert(Group { id, noiommu, members: Default::default() }).members.push(member);
        }
        groups.values_mut().for_each(|group| group.members.sort_by(|a, b| a.name.cmp(&b.name)));
        groups
    }

    fn tell_all(&self, inventory: &mut Inventory) {
        let (devices, groups) = (self.devices.values().cloned().collect(), self.groups().into_values().collect());
        inventory.scanned(devices, groups, Some(self.nodes.clone()), &COMPLETE);
    }
}

const COMPLETE: Completeness = Completeness { pci: true, mdev: true, unreadable: BTreeSet::new() };

fn vfio() -> Binding {
    Binding::Vfio("vfio-pci".into())
}

fn host(driver: &str) -> Binding {
    Binding::Host(driver.into())
}

/// A node on which vfiod runs, three minutes after its start.
struct Node {
    world: World,
    inventory: Inventory,
    register: Register,
    now: Moment,
    /// Every resource that was ever opened; the last of each name.
    resources: BTreeMap<String, Arc<Resource>>,
}

impl Node {
    /// A host that the closure has furnished.
    fn with(furnish: impl FnOnce(&mut World)) -> Self {
        let mut node = Self::idle();
        furnish(&mut node.world);
        node.rescan();
        node
    }

    /// A host without devices.
    fn idle() -> Self {
        Self::permitting(PERMIT)
    }

    fn permitting(text: &str) -> Self {
        let (inventory, register) = (Inventory::default(), Register::default());
        let mut node =
            Self { world: World::new(), inventory, register, now: secs(180), resources: BTreeMap::default() };
        node.inventory.set_permit(permit(text));
        node
    }

    /// Scans the whole host.
    fn rescan(&mut self) -> Outcome {
        self.world.tell_all(&mut self.inventory);
        self.settle()
    }

    /// Changes the host, and reads what an event about these devices would have read.
    fn change(&mut self, ids: &[DeviceId], change: impl FnOnce(&mut World)) -> Outcome {
        self.change_silently(ids, change);
        self.settle()
    }

    fn change_silently(&mut self, ids: &[DeviceId], change: impl FnOnce(&mut World)) {
        let groups =
            |world: &World| -> BTreeSet<GroupId> { ids.iter().filter_map(|id| world.devices.get(id)?.group).collect() };
        let before = groups(&self.world);
        change(&mut self.world);
        for &id in ids {
            self.inventory.device_read(id, self.world.devices.get(&id).cloned());
        }
        for group in before.union(&groups(&self.world)) {
            self.inventory.group_read(*group, self.world.members(*group));
        }
        self.inventory.nodes_read(self.world.nodes.clone());
    }

    /// A node below `/dev/vfio` goes or comes.
    fn node(&mut self, node: &DevNode, exists: bool) -> Outcome {
        let nodes = &mut self.world.nodes;
        match node {
            DevNode::Container => nodes.container = exists,
            DevNode::Group(id) => set(&mut nodes.groups, *id, exists),
            DevNode::NoIommu(id) => set(&mut nodes.noiommu, *id, exists),
            DevNode::Cdev(name) => set(&mut nodes.cdevs, name.clone(), exists),
        }
        self.inventory.node_changed(node, exists);
        self.settle()
    }

    fn settle(&mut self) -> Outcome {
        while let Some(answered) = self.register.take() {
            self.inventory.answered(&answered);
        }
        let outcome = self.inventory.settle(self.now);
        for resource in &outcome.opened {
            self.resources.insert(resource.name().to_string(), Arc::clone(resource));
        }
        outcome
    }

    /// Lets time pass, settling whenever the inventory asked to be woken.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.settle().wake.filter(|&wake| wake <= end) {
            assert!(wake > self.now, "woken for nothing");
            self.now = wake;
        }
        self.now = end;
        self.settle();
    }

    fn resource(&self, name: &str) -> &Resource {
        self.resources.get(name).unwrap_or_else(|| panic!("{name} was never opened"))
    }

    /// What the kubelet is told of a device: its health and the reason's code.
    fn says(&self, resource: &str, id: DeviceId) -> String {
        match self.resource(resource).table().get(id) {
            None => "unlisted".into(),
            Some(slot) => {
                let verdict = slot.verdict();
                assert_eq!(slot.is_healthy(), verdict.health == Health::Healthy);
                format!("{} {}", verdict.health, verdict.reason.code())
            }
        }
    }

    fn reason(&self, resource: &str, id: DeviceId) -> Reason {
        self.resource(resource).table().get(id).unwrap().verdict().reason.clone()
    }

    /// How many times the list of a resource may have changed.
    fn rings(&self, resource: &str) -> u64 {
        self.resource(resource).bell().version()
    }

    /// The kubelet asks for devices, for one container.
    fn allocate(&mut self, resource: &str, ids: &[DeviceId]) -> Result<(), Refusal> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let resource = Arc::clone(&self.resources[resource]);
        self.register.grant(&resource, &[ids], self.now)?;
        self.settle();
        Ok(())
    }

    /// The kubelet, up for an hour, says who has what: `pod resource device`.
    fn kubelet_says(&mut self, all: &[(&str, &str, DeviceId)]) {
        self.kubelet_says_after(secs(3600), all);
    }

    fn kubelet_says_after(&mut self, up: Duration, all: &[(&str, &str, DeviceId)]) {
        let reading = Reading { kubelet_up: Some(up), ..reading(self.now, all) };
        self.inventory.observed(&reading);
        self.settle();
    }
}

/// What both sources of a kubelet that has been up for an hour say: `pod resource device`.
fn reading(begun: Moment, all: &[(&str, &str, DeviceId)]) -> Reading {
    let source = |by_uid: bool| {
        let allocation = |&(pod, resource, device): &(&str, &str, DeviceId)| {
            let uid = by_uid.then(|| format!("uid-{pod}").into());
            let pod = Pod { uid, name: Some(("vms".into(), pod.into())) };
            Allocation {
                resource: resource.into(),
                device,
                former: None,
                owner: Owner { pod, container: "compute".into() },
                order: 0,
            }
        };
        Source::Read(all.iter().map(allocation).collect())
    };
    Reading { begun, checkpoint: source(true), pod_resources: source(false), kubelet_up: Some(secs(3600)) }
}

fn set<T: Ord>(all: &mut BTreeSet<T>, item: T, present: bool) {
    if present {
        all.insert(item);
    } else {
        all.remove(&item);
    }
}

const fn secs(secs: u64) -> Moment {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}
