//! What every endpoint shares with the reactor.

use crate::board::Board;
use std::{sync::Arc, time::Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use vfiod_core::{
    allocator::Register,
    device::DeviceId,
    inventory::Unreleased,
    ownership::{Conflict, Moment},
    permit::ResourceName,
};

/// The agent's monotonic clock, counted from its start.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since its start.
    #[must_use]
    pub fn now(self) -> Moment {
        self.0.elapsed()
    }

    /// The instant of a moment, for timers.
    #[must_use]
    pub fn instant(self, moment: Moment) -> Instant {
        self.0 + moment
    }
}

/// The border between the endpoints and the reactor: grants go one way, answers of the fence the other.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The agent's clock.
    pub clock: Clock,
    /// Where grants are noted.
    pub register: Arc<Register>,
    /// Wakes the reactor after a grant.
    pub granted: Arc<Notify>,
    /// Asks the reactor whether a container may start.
    pub fence: mpsc::UnboundedSender<FenceQuery>,
    /// Where everybody notes what they do.
    pub board: Arc<Board>,
}

impl Desk {
    /// Wakes the reactor after a grant, unless it knows that there are some: it looks again by itself soon.
    pub(super) fn tell_of_grants(&self) {
        if self.register.must_wake() {
            self.granted.notify_one();
        }
    }
}

/// "May the container that was given these devices start?"
#[derive(Debug)]
pub struct FenceQuery {
    /// The resource.
    pub resource: ResourceName,
    /// Its devices in the container.
    pub devices: Vec<DeviceId>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<FenceAnswer>,
}

/// What the reactor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceAnswer {
    /// It may start.
    Open,
    /// A device became unusable; the text names it and why.
    Unusable(String),
    /// The kubelet has not said yet who has another member of the group.
    Unknown(Conflict),
    /// Another pod came first.
    Shut(Conflict),
    /// Somebody else still has a device open.
    Held(Unreleased),
}
