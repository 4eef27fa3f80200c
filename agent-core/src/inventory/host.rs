//! What the host has: devices, groups and nodes as last read.

use super::cdevs::Cdevs;
use crate::device::{DevNodes, Device, DeviceId, Group, GroupId, Member, Node};
use std::collections::{BTreeMap, BTreeSet};

/// The facts that discovery reported last.
///
/// A device whose own link names a group is a member of it, whether the group has been read since or not.
#[derive(Debug, Default)]
pub struct Host {
    devices: BTreeMap<DeviceId, Device>,
    groups: BTreeMap<GroupId, Members>,
    /// Which device has a character device of a name.
    cdevs: Cdevs,
    nodes: DevNodes,
}

/// A group, and those of its members that are PCI or mediated devices.
#[derive(Debug, PartialEq, Eq)]
struct Members {
    group: Group,
    ids: Vec<DeviceId>,
}

impl Members {
    fn new(mut group: Group) -> Self {
        group.members.shrink_to_fit();
        let mut ids: Vec<DeviceId> = group.members.iter().filter_map(|member| member.name.parse().ok()).collect();
        ids.shrink_to_fit(); // a large host has thousands of groups, nearly all of one member
        Self { group, ids }
    }
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
        let first = self.devices.is_empty();
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
        if first {
            // Built in one go a tree has full leaves, where one that grew has half-full ones: it holds a whole host.
            self.devices = std::mem::take(&mut self.devices).into_iter().collect();
            self.groups = std::mem::take(&mut self.groups).into_iter().collect();
        }
        changed
    }

    /// Takes one device; returns what that touches: itself, and the members of the groups it left and joined.
    pub(super) fn set_device(&mut self, id: DeviceId, device: Option<Device>) -> BTreeSet<DeviceId> {
        if self.devices.get(&id) == device.as_ref() {
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::from([id]);
        let old = self.devices.remove(&id);
        let (left, joined) = (old.as_ref().and_then(|old| old.group), device.as_ref().and_then(|new| new.group));
        touched.extend(left.into_iter().flat_map(|group| self.members_of(group)));
        if let Some(group) = left.filter(|_| left != joined) {
            self.leave(group, id);
        }
        for name in old.iter().flat_map(|old| &old.cdevs) {
            // Another device may have taken the name over before this was read.
            self.cdevs.remove(name, id);
        }
        if let Some(device) = device {
            if let Some(group) = joined {
                self.join(group, &device);
            }
            device.cdevs.iter().for_each(|name| self.cdevs.insert(name, id));
            self.devices.insert(id, device);
        }
        touched.extend(joined.into_iter().flat_map(|group| self.members_of(group)));
        touched
    }

    /// Takes the members of one group; returns all old and new ones when they changed.
    pub(super) fn set_group(&mut self, id: GroupId, group: Option<Group>) -> BTreeSet<DeviceId> {
        let old = self.groups.remove(&id);
        let noiommu = old.as_ref().is_some_and(|old| old.group.noiommu);
        let mut group = group.unwrap_or(Group { id, noiommu, members: Vec::new() });
        // Those whose own links name it, whatever else was read: between two reads a device may have joined.
        for device in old.iter().flat_map(|old| &old.ids).filter_map(|member| self.devices.get(member)) {
            if device.group == Some(id) {
                add(&mut group.members, Member::from(device), |_, _| {});
            }
        }
        let new = (!group.members.is_empty()).then(|| Members::new(group));
        let mut touched = BTreeSet::new();
        if old != new {
            touched.extend([&old, &new].into_iter().flatten().flat_map(|members| &members.ids));
        }
        self.groups.extend(new.map(|new| (id, new)));
        touched
    }

    fn join(&mut self, group: GroupId, device: &Device) {
        let old = self.groups.remove(&group).map(|members| members.group);
        let mut new = old.unwrap_or(Group { id: group, noiommu: false, members: Vec::new() });
        add(&mut new.members, Member::from(device), |old, new| *old = new);
        self.groups.insert(group, Members::new(new));
    }

    fn leave(&mut self, group: GroupId, device: DeviceId) {
        let Some(mut members) = self.groups.remove(&group) else { return };
        let name = device.to_string();
        members.group.members.retain(|member| member.name != name);
        if !members.group.members.is_empty() {
            self.groups.insert(group, Members::new(members.group));
        }
    }

    /// Takes the appearance or the loss of one node below `/dev/vfio`; returns the devices that it belongs to.
    pub(super) fn set_node(&mut self, node: &Node, exists: bool) -> BTreeSet<DeviceId> {
        let nodes = &mut self.nodes;
        let changed = match node {
            Node::Container => std::mem::replace(&mut nodes.container, exists) != exists,
            Node::Group(id) => toggle(&mut nodes.groups, id, exists),
            Node::NoIommu(id) => toggle(&mut nodes.noiommu, id, exists),
            Node::Cdev(name) => toggle(&mut nodes.cdevs, name, exists),
        };
        if changed { self.users_of(node) } else { BTreeSet::new() }
    }

    /// Takes the nodes; returns the devices whose nodes came or went.
    pub(super) fn set_nodes(&mut self, nodes: DevNodes) -> BTreeSet<DeviceId> {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let new = &self.nodes;
        let container = (new.container != old.container).then_some(Node::Container);
        let groups = new.groups.symmetric_difference(&old.groups).map(|&id| Node::Group(id));
        let noiommu = new.noiommu.symmetric_difference(&old.noiommu).map(|&id| Node::NoIommu(id));
        let cdevs = new.cdevs.symmetric_difference(&old.cdevs).map(|name| Node::Cdev(name.clone()));
        let changed = container.into_iter().chain(groups).chain(noiommu).chain(cdevs);
        changed.flat_map(|node| self.users_of(&node)).collect()
    }

    /// The devices that need a node.
    fn users_of(&self, node: &Node) -> BTreeSet<DeviceId> {
        match node {
            Node::Container => self.devices.keys().copied().collect(),
            Node::Group(id) | Node::NoIommu(id) => self.members_of(*id).iter().copied().collect(),
            Node::Cdev(name) => self.cdevs.get(name).into_iter().collect(),
        }
    }
}

/// Puts `item` into the set or takes it out; returns whether that changed the set.
fn toggle<T: Ord + Clone>(set: &mut BTreeSet<T>, item: &T, present: bool) -> bool {
    if present { set.insert(item.clone()) } else { set.remove(item) }
}

/// Adds a member in the order of names; one of the same name that is there already is `met` with the new one.
fn add(members: &mut Vec<Member>, member: Member, met: impl FnOnce(&mut Member, Member)) {
    match members.iter_mut().find(|other| other.name == member.name) {
        Some(old) => met(old, member),
        None => {
            let place = members.partition_point(|other| other.name < member.name);
            members.insert(place, member);
        }
    }
}
