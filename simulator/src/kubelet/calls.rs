//! What the kubelet asked of plugins, and how long they took.

use std::time::{Duration, Instant};

use tonic::Status;

use super::state::{Shared, State};

/// The calls whose duration matters to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpc {
    /// `GetPreferredAllocation`: holds up all admissions.
    GetPreferredAllocation,
    /// `Allocate`: holds up all admissions.
    Allocate,
    /// `PreStartContainer`: holds up its own container.
    PreStartContainer,
}

/// A call that a plugin answered, or that reached its deadline.
#[derive(Debug, Clone)]
pub struct Call {
    /// The resource.
    pub resource: String,
    /// Which call.
    pub rpc: Rpc,
    /// The ids sent; for `GetPreferredAllocation` the ids that the plugin preferred.
    pub ids: Vec<String>,
    /// When the kubelet sent it.
    pub begun: Instant,
    /// How long until the answer.
    pub took: Duration,
    /// The error, if any.
    pub outcome: Result<(), Status>,
}

impl State {
    /// Every finished call for the resource since the observer began, oldest first.
    pub fn calls(&self, resource: &str) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.resource == resource)
    }
}

/// Makes a call and records it with the ids that `ids` finds in its answer.
pub(super) async fn recorded<T>(
    shared: &Shared,
    resource: &str,
    rpc: Rpc,
    ids: impl FnOnce(Option<&T>) -> Vec<String>,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let begun = Instant::now();
    let answer = call.await;
    let call = Call {
        resource: resource.to_owned(),
        rpc,
        ids: ids(answer.as_ref().ok()),
        begun,
        took: begun.elapsed(),
        outcome: answer.as_ref().map(|_| ()).map_err(Status::clone),
    };
    shared.update(|state| state.calls.push(call));
    answer
}
