//! What the host has: devices, groups and nodes as last read.

use super::groups::{Kept, Sight};
use crate::device::{CdevName, DevNodes, Device, DeviceId, Group, GroupId, Member, Members, Node};
use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// The facts that discovery reported last.
///
/// A device whose own link names a group is a member of it, whether the group has been read since or not.
#[derive(Debug, Default)]
pub struct Host {
    devices: BTreeSet<ById>,
    groups: BTreeMap<GroupId, Kept>,
    /// Which device took the name of a character device last.
    cdevs: Cdevs,
    nodes: DevNodes,
}

/// Devices by the names of their character devices; apart by number, as the kernel names them all, which takes fewer bytes.
#[derive(Debug, Default)]
struct Cdevs {
    numbered: BTreeMap<u32, DeviceId>,
    named: BTreeMap<Box<str>, DeviceId>,
}

impl Cdevs {
    fn get(&self, name: &CdevName) -> Option<DeviceId> {
        match name {
            CdevName::Numbered(number) => self.numbered.get(number).copied(),
            CdevName::Named(name) => self.named.get(name).copied(),
        }
    }

    fn remove(&mut self, name: &CdevName) {
        match name {
            CdevName::Numbered(number) => _ = self.numbered.remove(number),
            CdevName::Named(name) => _ = self.named.remove(name),
        }
    }
}

impl Extend<(CdevName, DeviceId)> for Cdevs {
    fn extend<T: IntoIterator<Item = (CdevName, DeviceId)>>(&mut self, names: T) {
        for (name, id) in names {
            match name {
                CdevName::Numbered(number) => _ = self.numbered.insert(number, id),
                CdevName::Named(name) => _ = self.named.insert(name, id),
            }
        }
    }
}

impl FromIterator<(CdevName, DeviceId)> for Cdevs {
    /// A tree that is built in one go has full leaves.
    fn from_iter<T: IntoIterator<Item = (CdevName, DeviceId)>>(names: T) -> Self {
        let (mut numbered, mut named) = (Vec::new(), BTreeMap::new());
        for (name, id) in names {
            match name {
                CdevName::Numbered(number) => numbered.push((number, id)),
                CdevName::Named(name) => _ = named.insert(name, id),
            }
        }
        Self { numbered: numbered.into_iter().collect(), named }
    }
}

/// A device in the order of the ids. It is its own key, because a host may have very many.
#[derive(Debug)]
struct ById(Device);

impl Borrow<DeviceId> for ById {
    fn borrow(&self) -> &DeviceId {
        &self.0.id
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

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
        self.devices.get(&id).map(|device| &device.0)
    }

    /// A group, as last read.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<Group> {
        self.sight(id, None).map(Sight::to_group)
    }

    /// A group, as last read, for whoever has one of its devices at hand already.
    pub(super) fn sight<'a>(&'a self, id: GroupId, member: Option<&'a Device>) -> Option<Sight<'a>> {
        match self.groups.get(&id)? {
            Kept::Lone { device, noiommu } => {
                let device = member.filter(|member| member.id == *device).or_else(|| self.device(*device))?;
                Some(Sight::Lone { id, device, noiommu: *noiommu })
            }
            Kept::Full(group) => Some(Sight::Full(group)),
        }
    }

    /// The nodes below `/dev/vfio`.
    #[must_use]
    pub const fn nodes(&self) -> &DevNodes {
        &self.nodes
    }

    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().map(|device| &device.0)
    }

    /// The devices that follow on `id` in their order; from the first on without one.
    pub fn devices_after(&self, id: Option<DeviceId>) -> impl Iterator<Item = &Device> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.devices.range::<DeviceId, _>((from, Bound::Unbounded)).map(|device| &device.0)
    }

    pub(super) fn device_ids(&self) -> impl Iterator<Item = DeviceId> {
        self.devices().map(|device| device.id)
    }

    /// The group of a device.
    #[must_use]
    pub fn group_of(&self, id: DeviceId) -> Option<GroupId> {
        self.device(id)?.group
    }

    /// The PCI and mediated devices of a group.
    pub fn members_of(&self, group: GroupId) -> impl Iterator<Item = DeviceId> + Clone + use<'_> {
        self.groups.get(&group).into_iter().flat_map(Kept::devices)
    }

    /// The PCI and mediated devices that share the group of `id`, itself included.
    pub fn group_members(&self, id: DeviceId) -> impl Iterator<Item = DeviceId> + Clone + use<'_> {
        self.group_of(id).into_iter().flat_map(|group| self.members_of(group))
    }

    /// Takes a scan; adds the devices that it changed to `touched`.
    pub(super) fn replace(
        &mut self,
        mut devices: Vec<Device>,
        mut groups: Vec<Group>,
        complete: &Completeness,
        touched: &mut Vec<DeviceId>,
    ) {
        devices.sort_unstable_by_key(|device| device.id);
        groups.sort_unstable_by_key(|group| group.id);
        if self.devices.is_empty() && self.groups.is_empty() {
            return self.found(devices, groups, touched);
        }
        let is_gone =
            |id: DeviceId| complete.proves_gone(id) && devices.binary_search_by_key(&id, |device| device.id).is_err();
        let gone: Vec<DeviceId> = self.device_ids().filter(|&id| is_gone(id)).collect();
        for device in devices {
            self.set_device(device.id, Some(device), touched);
        }
        for id in gone {
            self.set_device(id, None, touched);
        }
        let mut vanished = Vec::new();
        if complete.pci && complete.mdev && complete.unreadable.is_empty() {
            let is_listed = |id: GroupId| groups.binary_search_by_key(&id, |group| group.id).is_ok();
            vanished.extend(self.groups.keys().copied().filter(|&id| !is_listed(id)));
        }
        for group in groups {
            self.set_group(group.id, Some(group), touched);
        }
        for id in vanished {
            self.set_group(id, None, touched);
        }
    }

    /// Takes the first scan, in order. A tree that is built in one go is built sooner, and has full leaves, where one that grew has
    /// half-full ones: it holds a whole host.
    fn found(&mut self, devices: Vec<Device>, mut groups: Vec<Group>, touched: &mut Vec<DeviceId>) {
        let mut unread: BTreeMap<GroupId, Group> = BTreeMap::new();
        for device in &devices {
            if let Some(id) = device.group {
                let read = groups.binary_search_by_key(&id, |group| group.id);
                let group = match read.ok().and_then(|at| groups.get_mut(at)) {
                    Some(group) => group,
                    None => unread.entry(id).or_insert(Group { id, noiommu: false, members: Members::new() }),
                };
                add(&mut group.members, Member::from(device), |_, _| {});
            }
        }
        self.cdevs =
            devices.iter().flat_map(|device| device.cdevs.iter().map(|name| (name.clone(), device.id))).collect();
        self.devices = devices.into_iter().map(ById).collect();
        let groups = groups.into_iter().chain(unread.into_values()).filter(|group| !group.members.is_empty());
        self.groups = groups.map(|group| (group.id, Kept::new(group, |id| self.device(id)))).collect();
        touched.extend(self.device_ids());
        touched.extend(self.groups.values().flat_map(Kept::devices));
    }

    /// Takes one device; what that touches is itself, and the members of the groups it left and joined.
    pub(super) fn set_device(&mut self, id: DeviceId, device: Option<Device>, touched: &mut Vec<DeviceId>) {
        let old = self.devices.get(&id).map(|old| &old.0);
        if old == device.as_ref() {
            return;
        }
        touched.push(id);
        let (left, joined) = (old.and_then(|old| old.group), device.as_ref().and_then(|new| new.group));
        for name in old.iter().flat_map(|old| &old.cdevs) {
            // Another device may have taken the name over before this was read.
            if self.cdevs.get(name) == Some(id) {
                self.cdevs.remove(name);
            }
        }
        if let Some(group) = left.filter(|_| left != joined) {
            self.leave(group, id);
            touched.extend(self.members_of(group));
        }
        if let Some(device) = device {
            self.cdevs.extend(device.cdevs.iter().map(|name| (name.clone(), id)));
            if let Some(group) = joined {
                self.join(group, &device);
                touched.extend(self.members_of(group).filter(|&member| member != id));
            }
            self.devices.replace(ById(device));
        } else {
            self.devices.remove(&id);
        }
    }

    /// Takes the members of one group; all old and new ones are touched when they changed.
    pub(super) fn set_group(&mut self, id: GroupId, group: Option<Group>, touched: &mut Vec<DeviceId>) {
        let old = self.group(id);
        let noiommu = old.as_ref().is_some_and(|old| old.noiommu);
        let mut group = group.unwrap_or(Group { id, noiommu, members: Members::new() });
        // Those whose own links name it, whatever else was read: between two reads a device may have joined.
        for device in old.iter().flat_map(Group::devices).filter_map(|member| self.device(member)) {
            if device.group == Some(id) {
                add(&mut group.members, Member::from(device), |_, _| {});
            }
        }
        let new = (!group.members.is_empty()).then_some(group);
        if old == new {
            return;
        }
        touched.extend([&old, &new].into_iter().flatten().flat_map(Group::devices));
        match new {
            Some(new) => _ = self.groups.insert(id, Kept::new(new, |id| self.devices.get(&id).map(|device| &device.0))),
            None => _ = self.groups.remove(&id),
        }
    }

    /// Makes a device, which is about to be taken, a member of a group.
    fn join(&mut self, id: GroupId, device: &Device) {
        let mut group = self.group(id).unwrap_or(Group { id, noiommu: false, members: Members::new() });
        add(&mut group.members, Member::from(device), |old, new| *old = new);
        let known = |id: DeviceId| if id == device.id { Some(device) } else { self.device(id) };
        let kept = Kept::new(group, known);
        self.groups.insert(id, kept);
    }

    fn leave(&mut self, id: GroupId, device: DeviceId) {
        let Some(mut group) = self.group(id) else { return };
        group.members.retain(|member| member.name.device() != Some(device));
        if group.members.is_empty() {
            self.groups.remove(&id);
        } else {
            let kept = Kept::new(group, |id| self.device(id));
            self.groups.insert(id, kept);
        }
    }

    /// Takes the appearance or the loss of one node below `/dev/vfio`; touches the devices that it belongs to.
    pub(super) fn set_node(&mut self, node: &Node, exists: bool, touched: &mut Vec<DeviceId>) {
        let nodes = &mut self.nodes;
        let changed = match node {
            Node::Container => std::mem::replace(&mut nodes.container, exists) != exists,
            Node::Group(id) => toggle(&mut nodes.groups, id, exists),
            Node::NoIommu(id) => toggle(&mut nodes.noiommu, id, exists),
            Node::Cdev(name) => toggle(&mut nodes.cdevs, name, exists),
        };
        if changed {
            self.touch_users(node, touched);
        }
    }

    /// Takes the nodes; touches the devices whose nodes came or went.
    pub(super) fn set_nodes(&mut self, nodes: DevNodes, touched: &mut Vec<DeviceId>) {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let new = &self.nodes;
        let container = (new.container != old.container).then_some(Node::Container);
        let groups = new.groups.symmetric_difference(&old.groups).map(|&id| Node::Group(id));
        let noiommu = new.noiommu.symmetric_difference(&old.noiommu).map(|&id| Node::NoIommu(id));
        let cdevs = new.cdevs.symmetric_difference(&old.cdevs).map(|name| Node::Cdev(name.clone()));
        let changed = container.into_iter().chain(groups).chain(noiommu).chain(cdevs);
        changed.for_each(|node| self.touch_users(&node, touched));
    }

    /// Touches the devices that need a node.
    fn touch_users(&self, node: &Node, touched: &mut Vec<DeviceId>) {
        match node {
            Node::Container => touched.extend(self.device_ids()),
            Node::Group(id) | Node::NoIommu(id) => touched.extend(self.members_of(*id)),
            Node::Cdev(name) => touched.extend(self.cdevs.get(name)),
        }
    }
}

/// Puts `item` into the set or takes it out; returns whether that changed the set.
fn toggle<T: Ord + Clone>(set: &mut BTreeSet<T>, item: &T, present: bool) -> bool {
    if present { set.insert(item.clone()) } else { set.remove(item) }
}

/// Adds a member in the order of names; one of the same name that is there already is `met` with the new one.
fn add(members: &mut Members, member: Member, met: impl FnOnce(&mut Member, Member)) {
    match members.iter_mut().find(|other| other.name == member.name) {
        Some(old) => met(old, member),
        None => {
            let place = members.partition_point(|other| other.name < member.name);
            members.insert(place, member);
        }
    }
}
