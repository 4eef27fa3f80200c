//! The verdict on one device: a pure function from facts to health and reason.
//!
//! The table that it implements is `docs/HEALTH.md`. Two rules stand above it: an owned device is unhealthy only when
//! it is broken or gone, never because it is open; and every verdict names its reason.

use crate::device::{DeviceId, GroupId, Obstacle};
use crate::ownership::{Claim, Owner};
use std::{fmt, sync::Arc};

/// How long a device whose driver was unbound stays in the list, so that a rebind is seen as a recovery and not as a
/// new device.
pub const UNBOUND_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// How long the members of a group in *other* resources stay allocatable after one member was claimed: the pod that
/// claimed it may be asking for them next (a GPU and its audio function).
pub const COMPANION_WINDOW: std::time::Duration = std::time::Duration::from_secs(1);

/// What the kubelet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// May be allocated.
    Healthy,
    /// May not be allocated.
    Unhealthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
        })
    }
}

/// All that is known of one device at one moment.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Whether sysfs still shows the device.
    pub present: bool,
    /// The driver it is bound to.
    pub driver: Driver<'a>,
    /// The state of its IOMMU group.
    pub group: GroupState<'a>,
    /// A device node that should exist and does not.
    pub missing_node: Option<&'a str>,
    /// The device's own claim, where the kubelet has given it to somebody.
    pub claim: Option<&'a Claim>,
    /// The claim of another member of its group that counts most against it.
    pub sibling: Option<Sibling<'a>>,
    /// A process that has the device open and is not of a pod that owns it. Known only with the kernel probe.
    pub holder: Option<&'a Holder>,
    /// Whether the kernel reported a fatal PCI error since the last reset. Known only with the kernel probe.
    pub aer_fatal: bool,
    /// Whether an administrator has cordoned it.
    pub cordoned: bool,
    /// Whether it flapped so often that its recovery has to prove itself first.
    pub settling: bool,
}

/// The driver of a device, as health sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver<'a> {
    /// Bound to a VFIO driver.
    Vfio,
    /// Bound to a driver of the host.
    Host(&'a str),
    /// Bound to none.
    Unbound,
}

/// The state of a device's IOMMU group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState<'a> {
    /// It can be handed out.
    Viable,
    /// A member is held by a driver of the host.
    NotViable(GroupId, &'a Obstacle),
    /// The device has none: the host's IOMMU is off.
    Missing,
    /// There is no IOMMU behind it and the configuration does not allow that.
    NoIommu(GroupId),
}

/// A claim on another member of the group, or on the same device under another resource.
#[derive(Debug, Clone, Copy)]
pub struct Sibling<'a> {
    /// The group both belong to.
    pub group: Option<GroupId>,
    /// The claimed member.
    pub device: DeviceId,
    /// The resource it was claimed under.
    pub resource: &'a str,
    /// Whether that is this device's own resource.
    pub same_resource: bool,
    /// The claim.
    pub claim: &'a Claim,
    /// Whether [`COMPANION_WINDOW`] has passed since the claim.
    pub settled: bool,
}

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id in the host's pid namespace.
    pub pid: u32,
    /// Its command name (`/proc/PID/comm`).
    pub command: Arc<str>,
    /// Its container, where its cgroup names one.
    pub container: Option<Arc<str>>,
    /// Whether the owner it opened the device for is proved gone, and for longer than a minute.
    pub stuck: bool,
}

/// What is reported of a device, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the kubelet is told.
    pub health: Health,
    /// Why.
    pub reason: Reason,
}

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
            Self::Held(holder) => {
                format!("end process {} ({}), or wait until it closes the device", holder.pid, holder.command)
            }
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
            Self::Held(holder) => {
                if holder.stuck {
                    f.write_str("stuck: its owner is gone, but it is ")?;
                }
                write!(f, "held by process {} ({})", holder.pid, holder.command)?;
                match &holder.container {
                    Some(container) => write!(f, " of container {container}"),
                    None => Ok(()),
                }
            }
            Self::AerFatal => f.write_str("the kernel reported a fatal PCI error"),
            Self::Cordoned => f.write_str("cordoned by an administrator"),
            Self::Settling => f.write_str("flapping: it must be stable for a second first"),
        }
    }
}

/// Judges one device.
///
/// The order of the rules is the order in which somebody would have to mend things: a device that is not there cannot
/// be bound, one that is not bound has no node, and so on.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    broken(facts).unwrap_or_else(|| match facts.claim {
        Some(claim) => owned(facts, claim),
        None => free(facts),
    })
}

/// What makes a device unhealthy whether somebody owns it or not.
fn broken(facts: &Facts<'_>) -> Option<Verdict> {
    let reason = if !facts.present {
        Reason::Removed
    } else if let Driver::Host(driver) = facts.driver {
        Reason::HostDriver(driver.into())
    } else if facts.driver == Driver::Unbound {
        Reason::Unbound
    } else if let GroupState::Missing = facts.group {
        Reason::NoGroup
    } else if let GroupState::NoIommu(group) = facts.group {
        Reason::NoIommu(group)
    } else if let Some(node) = facts.missing_node {
        Reason::NodeMissing(node.into())
    } else if facts.aer_fatal {
        Reason::AerFatal
    } else {
        return None;
    };
    Some(Verdict { health: Health::Unhealthy, reason })
}

/// A device that works and is owned stays healthy; the reason still tells what an operator should know.
fn owned(facts: &Facts<'_>, claim: &Claim) -> Verdict {
    let reason = match (facts.group, facts.holder, claim.owner()) {
        (GroupState::NotViable(group, obstacle), _, _) => Reason::NotViable(group, obstacle.clone()),
        (_, Some(holder), _) => Reason::Held(holder.clone()),
        (_, None, Some(owner)) => Reason::Owned(owner.clone()),
        (_, None, None) => Reason::Claimed,
    };
    Verdict { health: Health::Healthy, reason }
}

fn free(facts: &Facts<'_>) -> Verdict {
    let unhealthy = |reason| Verdict { health: Health::Unhealthy, reason };
    if let GroupState::NotViable(group, obstacle) = facts.group {
        return unhealthy(Reason::NotViable(group, obstacle.clone()));
    }
    if let Some(sibling) = facts.sibling {
        let owner = sibling.claim.owner().cloned();
        let proved = owner.is_some() && sibling.settled;
        if sibling.same_resource || proved {
            return unhealthy(Reason::GroupInUse {
                group: sibling.group,
                device: sibling.device,
                resource: sibling.resource.into(),
                owner,
                proved,
            });
        }
    }
    if let Some(holder) = facts.holder {
        return unhealthy(Reason::Held(holder.clone()));
    }
    if facts.cordoned {
        return unhealthy(Reason::Cordoned);
    }
    if facts.settling {
        return unhealthy(Reason::Settling);
    }
    Verdict { health: Health::Healthy, reason: Reason::Ready }
}
