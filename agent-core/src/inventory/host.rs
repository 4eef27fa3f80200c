//! What the host has: devices, groups and nodes as last read.

use crate::device::{DevNodes, Device, DeviceId, Group, GroupId, Member, Node};
use std::collections::{BTreeSet, HashMap};

/// The facts that discovery reported last.
#[derive(Debug, Default)]
pub struct Host {
    devices: HashMap<DeviceId, Device>,
    groups: HashMap<GroupId, Members>,
    nodes: DevNodes,
}

#[derive(Debug, PartialEq, Eq)]
struct Members {
    group: Group,
    ids: Vec<DeviceId>,
}

/// Which parts of a scan can be trusted when they do not show something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completeness {
    /// All PCI devices were listed.
    pub pci: bool,
    /// All mediated devices were listed.
    pub mdev: bool,
    /// Devices that are there but could not be read: they keep their last state.
    pub unreadable: BTreeSet<DeviceId>,
}

impl Completeness {
    fn proves_gone(&self, id: DeviceId) -> bool {
        let listed = if id.is_mdev() { self.mdev } else { self.pci };
        listed && !self.unreadable.contains(&id)
    }
}

impl Host {
    /// A device, as last read.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(&id)
    }

    /// A group, as last read.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id).map(|members| &members.group)
    }

    /// The nodes below `/dev/vfio`.
    #[must_use]
    pub const fn nodes(&self) -> &DevNodes {
        &self.nodes
    }

    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    pub(super) fn device_ids(&self) -> impl Iterator<Item = DeviceId> {
        self.devices.keys().copied()
    }

    /// The group of a device.
    #[must_use]
    pub fn group_of(&self, id: DeviceId) -> Option<GroupId> {
        self.devices.get(&id)?.group
    }

    /// The PCI and mediated devices of a group.
    #[must_use]
    pub fn members_of(&self, group: GroupId) -> &[DeviceId] {
        self.groups.get(&group).map_or(&[], |members| &members.ids)
    }

    /// The PCI and mediated devices that share the group of `id`, itself included.
    #[must_use]
    pub fn group_members(&self, id: DeviceId) -> &[DeviceId] {
        self.group_of(id).map_or(&[], |group| self.members_of(group))
    }

    /// Takes a scan; returns what it changed.
    pub(super) fn replace(
        &mut self,
        devices: Vec<Device>,
        groups: Vec<Group>,
        complete: &Completeness,
    ) -> BTreeSet<DeviceId> {
        let seen: BTreeSet<DeviceId> = devices.iter().map(|device| device.id).collect();
        let gone: Vec<DeviceId> =
            self.devices.keys().filter(|id| !seen.contains(id) && complete.proves_gone(**id)).copied().collect();
        let mut changed = BTreeSet::new();
        for device in devices {
            changed.extend(self.set_device(device.id, Some(device)));
        }
        for id in gone {
            changed.extend(self.set_device(id, None));
        }
        let listed: BTreeSet<GroupId> = groups.iter().map(|group| group.id).collect();
        for group in groups {
            changed.extend(self.set_group(group.id, Some(group)));
        }
        if complete.pci && complete.mdev && complete.unreadable.is_empty() {
            let vanished: Vec<GroupId> = self.groups.keys().filter(|id| !listed.contains(id)).copied().collect();
            for id in vanished {
                changed.extend(self.set_group(id, None));
            }
        }
        changed
    }

    /// Takes one device; returns what that touches: itself, and the members of the groups it left and joined.
    pub(super) fn set_device(&mut self, id: DeviceId, device: Option<Device>) -> BTreeSet<DeviceId> {
        if self.devices.get(&id) == device.as_ref() {
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::from([id]);
        touched.extend(self.group_members(id));
        match device {
            Some(device) => self.devices.insert(id, device),
            None => self.devices.remove(&id),
        };
        touched.extend(self.group_members(id));
        touched
    }

    /// A group that only the links of its devices show.
    fn linked(&self, id: GroupId) -> Option<Group> {
        let mut members: Vec<Member> =
            self.devices.values().filter(|device| device.group == Some(id)).map(Member::from).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        (!members.is_empty()).then_some(Group { id, noiommu: false, members })
    }

    /// Takes the members of one group; returns all old and new ones when they changed.
    pub(super) fn set_group(&mut self, id: GroupId, group: Option<Group>) -> BTreeSet<DeviceId> {
        let members = group.or_else(|| self.linked(id)).map(|group| {
            let ids = group.members.iter().filter_map(|member| member.name.parse().ok()).collect();
            Members { group, ids }
        });
        if self.groups.get(&id) == members.as_ref() {
            return BTreeSet::new();
        }
        let mut touched: BTreeSet<DeviceId> = self.members_of(id).iter().copied().collect();
        match members {
            Some(members) => self.groups.insert(id, members),
            None => self.groups.remove(&id),
        };
        touched.extend(self.members_of(id));
        touched
    }

    /// Takes the appearance or the loss of one node below `/dev/vfio`; returns the devices that it belongs to.
    pub(super) fn set_node(&mut self, node: &Node, exists: bool) -> BTreeSet<DeviceId> {
        let nodes = &mut self.nodes;
        let (changed, group) = match node {
            Node::Container => (std::mem::replace(&mut nodes.container, exists) != exists, None),
            Node::Group(id) => (toggle(&mut nodes.groups, id, exists), Some(*id)),
            Node::NoIommu(id) => (toggle(&mut nodes.noiommu, id, exists), Some(*id)),
            Node::Cdev(name) => (toggle(&mut nodes.cdevs, name, exists), None),
        };
        match (changed, group, node) {
            (true, Some(group), _) => self.members_of(group).iter().copied().collect(),
            (true, None, Node::Cdev(name)) => {
                self.devices.values().filter(|device| device.cdevs.contains(name)).map(|device| device.id).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Takes the nodes; returns the devices whose nodes came or went.
    pub(super) fn set_nodes(&mut self, nodes: DevNodes) -> BTreeSet<DeviceId> {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let mut touched = BTreeSet::new();
        let groups = self.nodes.groups.symmetric_difference(&old.groups);
        let noiommu = self.nodes.noiommu.symmetric_difference(&old.noiommu);
        for &group in groups.chain(noiommu) {
            touched.extend(self.members_of(group));
        }
        let cdevs: BTreeSet<&String> = self.nodes.cdevs.symmetric_difference(&old.cdevs).collect();
        if !cdevs.is_empty() {
            let concerned = |device: &&Device| device.cdevs.iter().any(|name| cdevs.contains(name));
            touched.extend(self.devices.values().filter(concerned).map(|device| device.id));
        }
        touched
    }
}

/// Puts `item` into the set or takes it out; returns whether that changed the set.
fn toggle<T: Ord + Clone>(set: &mut BTreeSet<T>, item: &T, present: bool) -> bool {
    if present { set.insert(item.clone()) } else { set.remove(item) }
}
