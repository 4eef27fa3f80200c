//! The verdict on one device: a pure function from facts to health and reason.
//!
//! The table that it implements is `docs/HEALTH.md`. Two rules stand above it: an owned device is unhealthy only when
//! it is broken or gone, never because it is open; and every verdict names its reason.

mod facts;
mod reason;

pub use facts::{Driver, Facts, GroupState, Holder, Sibling};
pub use reason::Reason;

use crate::ownership::Claim;
use std::{fmt, time::Duration};

/// How long a device whose driver was unbound stays in the list, so that a rebind is seen as a recovery and not as a
/// new device.
pub const UNBOUND_GRACE: Duration = Duration::from_secs(60);

/// How long the members of a group in *other* resources stay allocatable after one member was claimed: the pod that
/// claimed it may be asking for them next (a GPU and its audio function).
pub const COMPANION_WINDOW: Duration = Duration::from_secs(1);

/// How long a process of a pod may still have a device open after the pod's claim has ended, before it counts as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

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

/// What is reported of a device, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the kubelet is told.
    pub health: Health,
    /// Why.
    pub reason: Reason,
}

/// Judges one device.
///
/// The order of the rules is the order in which somebody would have to mend things: a device that is not there cannot
/// be bound, one that is not bound has no node, and so on.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    if let Some(reason) = broken(facts) {
        return Verdict { health: Health::Unhealthy, reason };
    }
    match facts.claim {
        Some(claim) => Verdict { health: Health::Healthy, reason: owned(facts, claim) },
        None => match withheld(facts) {
            Some(reason) => Verdict { health: Health::Unhealthy, reason },
            None => Verdict { health: Health::Healthy, reason: Reason::Ready },
        },
    }
}

/// What makes a device unhealthy whether somebody owns it or not: it is broken or gone.
fn broken(facts: &Facts<'_>) -> Option<Reason> {
    if !facts.present {
        return Some(Reason::Removed);
    }
    match facts.driver {
        Driver::Host(driver) => return Some(Reason::HostDriver(driver.into())),
        Driver::Unbound => return Some(Reason::Unbound),
        Driver::Vfio => {}
    }
    if facts.group == GroupState::Missing {
        return Some(Reason::NoGroup);
    }
    if let Some(node) = facts.missing_node {
        return Some(Reason::NodeMissing(node.into()));
    }
    facts.aer_fatal.then_some(Reason::AerFatal)
}

/// A group that must not be handed out.
fn barred(group: GroupState<'_>) -> Option<Reason> {
    match group {
        GroupState::NotViable(group, obstacle) => Some(Reason::NotViable(group, obstacle.clone())),
        GroupState::NoIommu(group) => Some(Reason::NoIommu(group)),
        GroupState::Viable | GroupState::Missing => None,
    }
}

/// A device that works and is owned stays healthy; the reason still tells what an operator should know.
fn owned(facts: &Facts<'_>, claim: &Claim) -> Reason {
    barred(facts.group)
        .or_else(|| facts.holder.map(|holder| Reason::Held(holder.clone())))
        .unwrap_or_else(|| claim.owner().map_or(Reason::Claimed, |owner| Reason::Owned(owner.clone())))
}

/// What keeps a device that works from being handed out to anybody.
fn withheld(facts: &Facts<'_>) -> Option<Reason> {
    let in_use = || {
        let sibling = facts.sibling.as_ref().filter(|sibling| sibling.withholds())?;
        Some(Reason::GroupInUse {
            group: sibling.group,
            device: sibling.device,
            resource: sibling.resource.into(),
            owner: sibling.claim.owner().cloned(),
            proved: sibling.is_proved(),
        })
    };
    barred(facts.group)
        .or_else(in_use)
        .or_else(|| facts.holder.map(|holder| Reason::Held(holder.clone())))
        .or_else(|| facts.cordoned.then_some(Reason::Cordoned))
        .or_else(|| facts.settling.then_some(Reason::Settling))
}

#[cfg(test)]
mod tests;
