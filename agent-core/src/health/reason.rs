//! Why a device is healthy or not: the texts, codes and remedies.

use super::Holder;
use crate::device::{DeviceId, GroupId, Obstacle};
use crate::ownership::Owner;
use std::fmt;

/// Why a device is healthy or not; its text names what is in the way and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Free, and nothing is in the way.
    Ready,
    /// Answered to the kubelet; which pod has it is not known yet.
    Claimed,
    /// A pod owns it.
    Owned(Owner),
    /// sysfs no longer shows it.
    Removed,
    /// No driver is bound.
    Unbound,
    /// A driver of the host is bound.
    HostDriver(Box<str>),
    /// It has no IOMMU group.
    NoGroup,
    /// Its group has no IOMMU behind it.
    NoIommu(GroupId),
    /// A member of its group is held by a driver of the host.
    NotViable(GroupId, Obstacle),
    /// A device node is missing.
    NodeMissing(Box<str>),
    /// Another member of its group is claimed.
    GroupInUse {
        /// The group.
        group: Option<GroupId>,
        /// The claimed member.
        device: DeviceId,
        /// The resource it was claimed under.
        resource: Box<str>,
        /// Its owner, where known.
        owner: Option<Owner>,
        /// Whether it is proved that this cannot end well: the owner is known and the companion window has passed.
        proved: bool,
    },
    /// A process outside the owning pod has it open.
    Held(Holder),
    /// The kernel reported a fatal PCI error.
    AerFatal,
    /// Cordoned by an administrator.
    Cordoned,
    /// Flapped five times within ten seconds; its recovery waits until it has been stable for a second.
    Settling,
}

impl Reason {
    /// Whether `Allocate` must refuse: what waiting cannot cure.
    ///
    /// A device that is merely busy is granted, because the kubelet knows more (an init container hands its devices to
    /// the next container by asking again) and `PreStartContainer` is there to wait.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        match self {
            Self::Removed
            | Self::Unbound
            | Self::HostDriver(_)
            | Self::NoGroup
            | Self::NoIommu(_)
            | Self::NotViable(..)
            | Self::NodeMissing(_) => true,
            Self::GroupInUse { proved, .. } => *proved,
            Self::Ready
            | Self::Claimed
            | Self::Owned(_)
            | Self::Held(_)
            | Self::AerFatal
            | Self::Cordoned
            | Self::Settling => false,
        }
    }

    /// One word for scripts, metrics and `-o json`; stable.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Claimed => "Claimed",
            Self::Owned(_) => "Owned",
            Self::Removed => "Removed",
            Self::Unbound => "DriverUnbound",
            Self::HostDriver(_) => "HostDriver",
            Self::NoGroup => "NoIommuGroup",
            Self::NoIommu(_) => "NoIommu",
            Self::NotViable(..) => "GroupNotViable",
            Self::NodeMissing(_) => "NodeMissing",
            Self::GroupInUse { .. } => "GroupInUse",
            Self::Held(_) => "Held",
            Self::AerFatal => "AerFatal",
            Self::Cordoned => "Cordoned",
            Self::Settling => "Settling",
        }
    }

    /// What somebody on the host can do about it; `None` when nothing needs doing.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Unbound => {
                "bind it: write vfio-pci to its driver_override, then its address to /sys/bus/pci/drivers_probe".into()
            }
            Self::HostDriver(driver) => format!("unbind it from {driver} and bind it to vfio-pci"),
            Self::NoGroup => "turn the IOMMU on in the firmware and boot with intel_iommu=on or amd_iommu=on".into(),
            Self::NoIommu(_) => {
                "turn the IOMMU on, or set allowNoIommu: true and accept that the device can reach all memory".into()
            }
            Self::NotViable(_, obstacle) => {
                format!("unbind {} from {}, or bind it to vfio-pci or pci-stub", obstacle.member, obstacle.driver)
            }
            Self::NodeMissing(node) => format!("see why {node} is gone: `dmesg | grep -i vfio`, `ls -l /dev/vfio`"),
            Self::Held(Holder { process: Some(process), .. }) => {
                format!("end process {} ({}), or wait until it closes the device", process.pid, process.command)
            }
            Self::Held(Holder { process: None, .. }) => "wait until it is closed; `vfiod explain` looks again".into(),
            Self::AerFatal => "reset the device, then clear it".into(),
            Self::Cordoned => "uncordon it".into(),
            Self::Ready | Self::Claimed | Self::Owned(_) | Self::Removed | Self::GroupInUse { .. } | Self::Settling => {
                return None;
            }
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Claimed => f.write_str("claimed, its pod is not known yet"),
            Self::Owned(owner) => write!(f, "owned by {owner}"),
            Self::Removed => f.write_str("the device is gone from the host"),
            Self::Unbound => f.write_str("no driver is bound"),
            Self::HostDriver(driver) => write!(f, "bound to {driver}, which is not a VFIO driver"),
            Self::NoGroup => f.write_str("it has no IOMMU group"),
            Self::NoIommu(group) => write!(f, "IOMMU group {group} has no IOMMU behind it"),
            Self::NotViable(group, obstacle) => {
                write!(f, "IOMMU group {group} is not viable: {} is bound to {}", obstacle.member, obstacle.driver)
            }
            Self::NodeMissing(node) => write!(f, "{node} is missing"),
            Self::GroupInUse { group, device, resource, owner, .. } => {
                match group {
                    Some(group) => write!(f, "IOMMU group {group} is in use: {device} ({resource}) is claimed")?,
                    None => write!(f, "in use: {device} is claimed as {resource}")?,
                }
                match owner {
                    Some(owner) => write!(f, " by {owner}"),
                    None => Ok(()),
                }
            }
            Self::Held(holder) => holder.fmt(f),
            Self::AerFatal => f.write_str("the kernel reported a fatal PCI error"),
            Self::Cordoned => f.write_str("cordoned by an administrator"),
            Self::Settling => f.write_str("flapping: it must be stable for a second first"),
        }
    }
}
