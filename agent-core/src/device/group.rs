//! IOMMU groups: the smallest set of devices that can be handed out safely.

use super::{Device, driver::is_vfio_driver};

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
    pub members: Vec<Member>,
}

/// One member of an IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member's name: a BDF or an mdev UUID; other buses have members too.
    pub name: String,
    /// The driver bound to it.
    pub driver: Option<String>,
    /// Whether the driver hands it to VFIO: by name, or because the member is registered with VFIO
    /// (a `vfio-dev/` folder), or by KubeVirt's rule for SR-IOV vGPU functions.
    pub vfio: bool,
    /// Whether it is a PCI bridge (class 0604).
    pub bridge: bool,
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
            name: device.id.to_string(),
            driver: device.binding.driver().map(ToOwned::to_owned),
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
        match self.driver.as_deref() {
            None | Some("pci-stub") => true,
            Some("pcieport") => self.bridge,
            Some(driver) => self.vfio || is_vfio_driver(driver),
        }
    }
}

impl Group {
    /// The first member that makes the group not viable.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let member = self.members.iter().find(|member| !member.is_viable())?;
        Some(Obstacle { member: member.name.clone(), driver: member.driver.clone()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, driver: Option<&str>) -> Member {
        Member { name: name.into(), driver: driver.map(Into::into), vfio: false, bridge: false }
    }

    #[test]
    fn a_sibling_on_a_host_driver_is_the_obstacle() {
        let group = Group {
            id: 7,
            noiommu: false,
            members: vec![member("0000:01:00.0", Some("vfio-pci")), member("0000:01:00.1", Some("snd_hda_intel"))],
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
            members: vec![
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
