//! What health is judged from.

use crate::device::{DeviceId, GroupId, Obstacle};
use crate::holding::{Object, Process};
use crate::ownership::Claim;
use std::{fmt, sync::Arc};

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
    /// Somebody who has the device open, or anything else of its group, and is not of a pod that owns it.
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

/// A claim that stands against a device: on another member of its group, or on the device itself under another
/// resource.
#[derive(Debug, Clone, Copy)]
pub struct Sibling<'a> {
    /// The group both belong to.
    pub group: Option<GroupId>,
    /// The claimed member.
    pub device: DeviceId,
    /// The resource it was claimed under.
    pub resource: &'a str,
    /// Whether the pod that claimed it may be about to ask for this device too: another device of another resource.
    pub companion: bool,
    /// The claim.
    pub claim: &'a Claim,
    /// Whether [`COMPANION_WINDOW`](super::COMPANION_WINDOW) has passed since the claim.
    pub settled: bool,
}

impl Sibling<'_> {
    /// Whether it is proved that somebody else has the group: waiting would not help.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.claim.owner().is_some() && self.settled
    }

    /// Whether the device must not be offered because of it. A companion stays on offer until it is proved that no
    /// pod is about to complete its group.
    #[must_use]
    pub fn withholds(&self) -> bool {
        !self.companion || self.is_proved()
    }
}

/// Somebody who keeps a device from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What is open, where that is not the device itself: its group, or another member of it.
    pub through: Option<Object>,
    /// The process; `None` where the kernel counts an open file that no process shows.
    pub process: Option<Arc<Process>>,
    /// Whether the owner it opened the device for is proved gone, and for longer than a minute.
    pub stuck: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stuck {
            f.write_str("stuck: its owner is gone, but it is ")?;
        }
        match &self.process {
            Some(process) => write!(f, "held by {process}")?,
            None => f.write_str(
                "held by nobody who shows it: the open file is mapped, on its way over a socket, or the kernel's own",
            )?,
        }
        match &self.through {
            Some(object) => write!(f, ", who has {object} open"),
            None => Ok(()),
        }
    }
}
