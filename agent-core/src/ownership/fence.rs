//! The fence: of two pods that hold members of one IOMMU group, only the one that came first may start.

use super::{Claim, Ledger, Moment, Owner};
use crate::device::DeviceId;
use std::cmp::Ordering;

/// Whether a container may start with its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// All claimed members of every group belong to one pod, or the others came later.
    Open,
    /// It cannot be told yet: the kubelet has not said who has this member.
    Unknown(Conflict),
    /// Another pod holds a member of the group and came first.
    Shut(Conflict),
}

/// The claim that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The device that was asked for.
    pub device: DeviceId,
    /// The other member of its group.
    pub other: DeviceId,
    /// The resource under which the other is claimed.
    pub resource: String,
    /// Who owns the other.
    pub owner: Option<Owner>,
}

/// Decides whether the container that was given `devices` of `resource` may start: of all pods that have members of a
/// group, the one whose claim is the oldest.
///
/// `siblings` yields the members of a device's IOMMU group, the device itself included.
pub fn fence<I>(ledger: &Ledger, resource: &str, devices: &[DeviceId], siblings: impl Fn(DeviceId) -> I) -> Fence
where
    I: Iterator<Item = DeviceId>,
{
    // A claim that the ledger has lost counts as the youngest.
    let lost = Claim::pending(Moment::ZERO, u64::MAX);
    let mut unknown = None;
    for &device in devices {
        let mine = ledger.claim(resource, device).unwrap_or(&lost);
        for other in siblings(device) {
            for (other_resource, theirs) in ledger.of(other) {
                let asked_for = other_resource == resource && devices.contains(&other);
                let precedence = if asked_for { Precedence::SamePod } else { precedence(mine, theirs) };
                let conflict =
                    || Conflict { device, other, resource: other_resource.to_owned(), owner: theirs.owner().cloned() };
                match precedence {
                    Precedence::SamePod | Precedence::Mine => {}
                    Precedence::Theirs => return Fence::Shut(conflict()),
                    Precedence::Unknown => unknown = Some(conflict()),
                }
            }
        }
    }
    unknown.map_or(Fence::Open, Fence::Unknown)
}

/// Which of two claims may start its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Both: they are one pod's.
    SamePod,
    Mine,
    Theirs,
    /// It depends on whether they are one pod's, which no source has said yet.
    Unknown,
}

fn precedence(mine: &Claim, theirs: &Claim) -> Precedence {
    let (my_pod, their_pod) = (mine.owner().map(|owner| &owner.pod), theirs.owner().map(|owner| &owner.pod));
    let same = my_pod.zip(their_pod).and_then(|(my_pod, their_pod)| my_pod.same_as(their_pod));
    // What was there before the agent is older than all that it answered; where the order of that was lost, the pods have
    // one, and not their devices: each of two pods that share two groups would wait for the other otherwise.
    let age = |claim: &Claim| (claim.answered, claim.order);
    let order = age(mine).cmp(&age(theirs)).then_with(|| my_pod.cmp(&their_pod));
    match (same, order) {
        (Some(true), _) => Precedence::SamePod,
        (_, Ordering::Less) => Precedence::Mine,
        (Some(false), _) => Precedence::Theirs,
        (None, _) => Precedence::Unknown,
    }
}
