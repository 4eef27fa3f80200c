//! The IOMMU groups of a host, in few bytes: nearly all groups of a large host have one member, a device that is known anyway.

use crate::device::{Device, DeviceId, Group, GroupId, Member, Members, Obstacle};
use std::iter::once;

/// A group as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Its only member is a device of the host that names this group, and is as that device says.
    Lone { device: DeviceId, noiommu: bool },
    /// Any other group.
    Full(Box<Group>),
}

/// A group as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sight<'a> {
    Lone { id: GroupId, device: &'a Device, noiommu: bool },
    Full(&'a Group),
}

impl Kept {
    /// Keeps a group; `device` finds what the host knows of its only member.
    pub(super) fn new<'d>(group: Group, device: impl FnOnce(DeviceId) -> Option<&'d Device>) -> Self {
        if let [member] = &*group.members
            && let Some(known) = member.name.device().and_then(device)
            && known.group == Some(group.id)
            && Member::from(known) == *member
        {
            return Self::Lone { device: known.id, noiommu: group.noiommu };
        }
        Self::Full(Box::new(group))
    }

    /// Those of its members that are PCI functions or mdevs.
    pub(super) fn devices(&self) -> impl Iterator<Item = DeviceId> + Clone + use<'_> {
        let (lone, full) = match self {
            Self::Lone { device, .. } => (Some(*device), None),
            Self::Full(group) => (None, Some(group)),
        };
        lone.into_iter().chain(full.into_iter().flat_map(|group| group.devices()))
    }
}

impl<'a> Sight<'a> {
    pub(super) const fn id(self) -> GroupId {
        match self {
            Self::Lone { id, .. } => id,
            Self::Full(group) => group.id,
        }
    }

    pub(super) const fn noiommu(self) -> bool {
        match self {
            Self::Lone { noiommu, .. } => noiommu,
            Self::Full(group) => group.noiommu,
        }
    }

    /// Those of its members that are PCI functions or mdevs.
    pub(super) fn devices(self) -> impl Iterator<Item = DeviceId> + Clone + use<'a> {
        let (lone, full) = match self {
            Self::Lone { device, .. } => (Some(device.id), None),
            Self::Full(group) => (None, Some(group)),
        };
        lone.into_iter().chain(full.into_iter().flat_map(Group::devices))
    }

    /// The first member that makes the group not viable.
    pub(super) fn obstacle(self) -> Option<Obstacle> {
        match self {
            Self::Lone { device, .. } => Member::obstacle_of(device),
            Self::Full(group) => group.obstacle(),
        }
    }

    /// The group with all its members.
    pub(super) fn to_group(self) -> Group {
        match self {
            Self::Lone { id, device, noiommu } => {
                Group { id, noiommu, members: once(Member::from(device)).collect::<Members>() }
            }
            Self::Full(group) => group.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Bdf, Binding, CdevNames, Kind, PciId};

    fn device(function: u8, binding: Binding) -> Device {
        let id = Bdf::new(0, 0x3b, 0, function).unwrap().into();
        let kind = Kind::Pci { pci_id: PciId { vendor: 0x10de, product: 0x1eb8 }, class: 0x03_00_00, physfn: None };
        Device { id, kind, binding, group: Some(7), numa: None, cdevs: CdevNames::new() }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_group_of_one_takes_little_more_than_an_id() {
        assert_eq!((size_of::<Kept>(), size_of::<Group>()), (24, 64));
    }

    #[test]
    fn a_group_is_looked_at_as_it_was_given_whatever_its_members() {
        let known = [
            device(0, Binding::Vfio("vfio-pci".into())),
            device(1, Binding::Host("nouveau".into())),
            device(2, Binding::Unbound),
        ];
        let other = Member { name: "serial0".into(), driver: Some("8250".into()), vfio: false, bridge: false };
        let stale = Member { driver: None, ..Member::from(&known[0]) };
        let all = known.iter().map(Member::from).chain([other, stale]).collect::<Vec<_>>();
        for members in all.iter().map(|member| vec![member.clone()]).chain([all.clone(), all[..2].to_vec(), Vec::new()])
        {
            let group = Group { id: 7, noiommu: true, members: members.into() };
            let of = |id| known.iter().find(|device| device.id == id);
            let kept = Kept::new(group.clone(), of);
            let sight = match &kept {
                Kept::Lone { device, noiommu } => {
                    Sight::Lone { id: 7, device: of(*device).unwrap(), noiommu: *noiommu }
                }
                Kept::Full(group) => Sight::Full(group),
            };
            let lone =
                group.members.len() == 1 && known.iter().map(Member::from).any(|member| member == group.members[0]);
            assert_eq!(matches!(kept, Kept::Lone { .. }), lone, "{group:?}");
            assert_eq!((sight.id(), sight.noiommu(), sight.obstacle()), (7, true, group.obstacle()), "{group:?}");
            assert!(sight.devices().eq(group.devices()) && kept.devices().eq(group.devices()), "{group:?}");
            assert_eq!(sight.to_group(), group);
        }
    }
}
