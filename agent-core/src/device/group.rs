//! IOMMU groups: the smallest set of devices that can be handed out safely.

use super::{Device, DeviceId, driver::is_vfio_driver};
use smallvec::SmallVec;
use std::{fmt, sync::Arc};

/// The number of an IOMMU group, as in `/sys/kernel/iommu_groups/N`.
pub type GroupId = u32;

/// An IOMMU group with all its members, permitted or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's number.
    pub id: GroupId,
    /// Whether there is no IOMMU behind the group (`name` says `vfio-noiommu`). Mediated devices always say so, and
    /// for them it means nothing: their parent does the translation.
    pub noiommu: bool,
    /// All members, in the order of their names.
    pub members: Members,
}

/// The members of a group: of nearly all groups of a large host one.
pub type Members = SmallVec<[Member; 1]>;

/// One member of an IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member's name.
    pub name: MemberName,
    /// The driver bound to it.
    pub driver: Option<Arc<str>>,
    /// Whether the driver hands it to VFIO: by name, or because the member is registered with VFIO
    /// (a `vfio-dev/` folder), or by KubeVirt's rule for SR-IOV vGPU functions.
    pub vfio: bool,
    /// Whether it is a PCI bridge (class 0604).
    pub bridge: bool,
}

/// What a member of a group is called. PCI and mediated devices come first, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberName {
    /// A PCI function or an mdev.
    Device(DeviceId),
    /// A device of another bus: those have members, too.
    Other(Box<str>),
}

impl MemberName {
    /// The PCI function or mdev of this name.
    #[must_use]
    pub const fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Device(id) => Some(*id),
            Self::Other(_) => None,
        }
    }
}

impl From<&str> for MemberName {
    fn from(name: &str) -> Self {
        DeviceId::from_name(name.as_bytes()).map_or_else(|| Self::Other(name.into()), Self::Device)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => id.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The member that keeps a group from being handed out, and its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The member's name.
    pub member: String,
    /// The driver that holds it on the host.
    pub driver: String,
}

impl From<&Device> for Member {
    fn from(device: &Device) -> Self {
        Self {
            name: MemberName::Device(device.id),
            driver: device.binding.driver().cloned(),
            vfio: device.binding.is_vfio(),
            bridge: device.is_bridge(),
        }
    }
}

impl Member {
    /// Whether VFIO would accept a group with this member.
    ///
    /// A member may have no driver, a VFIO driver, `pci-stub`, or be a bridge on `pcieport`
    /// (kernel: `drivers/iommu/iommu.c`, `iommu_group_claim_dma_owner` and the drivers that set `driver_managed_dma`).
    #[must_use]
    pub fn is_viable(&self) -> bool {
        is_viable(self.driver.as_deref(), self.vfio, self.bridge)
    }

    /// The obstacle that a device is to a group of which it is the only member.
    pub(crate) fn obstacle_of(device: &Device) -> Option<Obstacle> {
        let driver = device.binding.driver().map(AsRef::as_ref);
        if is_viable(driver, device.binding.is_vfio(), device.is_bridge()) {
            return None;
        }
        Some(Obstacle { member: device.id.to_string(), driver: driver?.to_owned() })
    }
}

fn is_viable(driver: Option<&str>, vfio: bool, bridge: bool) -> bool {
    match driver {
        None | Some("pci-stub") => true,
        Some("pcieport") => bridge,
        Some(driver) => vfio || is_vfio_driver(driver),
    }
}

impl Group {
    /// Those of its members that are PCI functions or mdevs.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + Clone {
        self.members.iter().filter_map(|member| member.name.device())
    }

    /// The first member that makes the group not viable.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let member = self.members.iter().find(|member| !member.is_viable())?;
        Some(Obstacle { member: member.name.to_string(), driver: member.driver.as_deref()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn member(name: &str, driver: Option<&str>) -> Member {
        Member { name: name.into(), driver: driver.map(Into::into), vfio: false, bridge: false }
    }

    #[test]
    fn a_sibling_on_a_host_driver_is_the_obstacle() {
        let group = Group {
            id: 7,
            noiommu: false,
            members: smallvec![member("0000:01:00.0", Some("vfio-pci")), member("0000:01:00.1", Some("snd_hda_intel"))],
        };
        let obstacle = group.obstacle().unwrap();
        assert_eq!((obstacle.member.as_str(), obstacle.driver.as_str()), ("0000:01:00.1", "snd_hda_intel"));
    }

    #[test]
    fn bridges_stubs_and_the_unbound_do_not_stand_in_the_way() {
        let mut bridge = member("0000:00:01.0", Some("pcieport"));
        bridge.bridge = true;
        let group = Group {
            id: 7,
            noiommu: false,
            members: smallvec![
                bridge,
                member("0000:01:00.0", None),
                member("0000:01:00.1", Some("pci-stub")),
                member("0000:01:00.2", Some("mlx5_vfio_pci")),
            ],
        };
        assert_eq!(group.obstacle(), None);
    }

    #[test]
    fn pcieport_counts_only_on_a_bridge() {
        assert!(!member("0000:00:01.0", Some("pcieport")).is_viable());
    }
}
