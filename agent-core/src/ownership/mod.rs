//! Who owns a device: what the kubelet says.
//!
//! The kubelet never says "released", and `Allocate` carries no pod. So a claim is *pending* from the answer on, *owned*
//! once a source names its pod, and *free* when a source that can be trusted no longer lists it. The sources are the
//! kubelet's checkpoint and its PodResources API; [`Ledger`] folds what they say, [`fence`] decides who may start.

mod fence;
mod ledger;
mod listed;
mod note;
mod reading;
pub mod takeover;

pub use fence::{Conflict, Fence, fence};
pub use ledger::{ABSENCE_PROOF, Claim, Ledger, Noted, PENDING_GRACE};
pub use note::{note, noted};
pub use reading::{Allocation, Owner, Pod, Reading, Source};

/// A moment on the agent's monotonic clock, counted from its start.
pub type Moment = std::time::Duration;

#[cfg(test)]
mod tests;
