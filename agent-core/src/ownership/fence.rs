//! The fence: of two pods that hold members of one IOMMU group, only the one that came first may start.

use super::{Claim, Ledger, Owner, Pod};
use crate::device::DeviceId;

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

/// Decides whether the container that was given `devices` of `resource` may start.
///
/// `siblings` yields the members of a device's IOMMU group.
pub fn fence<'m, I>(ledger: &Ledger, resource: &str, devices: &[DeviceId], siblings: impl Fn(DeviceId) -> I) -> Fence
where
    I: Iterator<Item = &'m DeviceId>,
{
    let mut unknown = None;
    for &device in devices {
        // A claim that the ledger has lost counts as the youngest.
        let lost = Claim::pending(super::Moment::ZERO, u64::MAX);
        let mine = ledger.claim(resource, device).unwrap_or(&lost);
        for &other in siblings(device) {
            for (other_resource, theirs) in ledger.of(other) {
                let asked_for = other_resource == resource && devices.contains(&other);
                if asked_for || came_later((mine, device), (theirs, other)) {
                    continue;
                }
                let conflict =
                    Conflict { device, other, resource: other_resource.to_owned(), owner: theirs.owner().cloned() };
                match same_pod(mine, theirs) {
                    Some(true) => {}
                    Some(false) => return Fence::Shut(conflict),
                    None => unknown = Some(conflict),
                }
            }
        }
    }
    unknown.map_or(Fence::Open, Fence::Unknown)
}

fn pod(claim: &Claim) -> Option<&Pod> {
    claim.owner().map(|owner| &owner.pod)
}

fn same_pod(mine: &Claim, theirs: &Claim) -> Option<bool> {
    pod(mine)?.same_as(pod(theirs)?)
}

/// Two claims from before the agent's start have no order; the lower address goes first, so that one of them starts.
fn came_later(mine: (&Claim, DeviceId), theirs: (&Claim, DeviceId)) -> bool {
    (theirs.0.order, theirs.1) > (mine.0.order, mine.1)
}
