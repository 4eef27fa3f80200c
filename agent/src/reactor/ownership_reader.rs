//! When to read the sources of ownership, and one read at a time.

use crate::{ownership::Sources, plugin::Clock};
use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};
use vfiod_core::ownership::{Moment, Reading};

/// The least time between the beginnings of two reads: PodResources answers 100 calls a second to all its clients.
const SPACING: Duration = Duration::from_millis(50);
/// The same while a crowd of calls is served: of the grants of all that time the last read tells.
const SPACING_IN_A_CROWD: Duration = Duration::from_millis(500);
/// While a claim has no pod yet, or a device is withheld because of somebody else's claim.
const OFTEN: Duration = Duration::from_secs(5);
/// Otherwise.
const SELDOM: Duration = Duration::from_secs(60);

/// A read under way; it gives the sources back.
type Running = Pin<Box<dyn Future<Output = (Box<Sources>, Reading)>>>;

/// Reads the sources of ownership.
pub(super) struct OwnershipReader {
    clock: Clock,
    wanted: Option<Moment>,
    last: Option<Moment>,
    state: State,
}

enum State {
    Idle(Box<Sources>),
    Reading(Running),
    /// Only between two lines of code.
    Moved,
}

impl OwnershipReader {
    pub(super) fn new(sources: Sources, clock: Clock) -> Self {
        Self { clock, wanted: None, last: None, state: State::Idle(Box::new(sources)) }
    }

    /// Asks for a read that begins after this call.
    pub(super) fn want(&mut self) {
        self.want_after(SPACING);
    }

    /// The same for grants of a crowd, of which more will come.
    pub(super) fn want_in_a_crowd(&mut self) {
        self.want_after(SPACING_IN_A_CROWD);
    }

    fn want_after(&mut self, spacing: Duration) {
        let now = self.clock.now();
        let earliest = self.last.map_or(now, |last| (last + spacing).max(now));
        self.wanted = Some(self.wanted.map_or(earliest, |wanted| wanted.min(earliest)));
    }

    /// Plans the next read for the case that nothing asks for one.
    pub(super) fn plan(&mut self, often: bool) {
        let planned = self.last.unwrap_or_default() + if often { OFTEN } else { SELDOM };
        if matches!(self.state, State::Idle(_)) {
            self.wanted = Some(self.wanted.map_or(planned, |wanted| wanted.min(planned)));
        }
    }

    /// The next reading, when its time has come. Cancelling it loses nothing.
    pub(super) async fn done(&mut self) -> Reading {
        if let State::Idle(_) = self.state {
            let Some(at) = self.wanted else { return pending().await };
            tokio::time::sleep_until(self.clock.instant(at).into()).await;
            self.wanted = None;
            let begun = self.clock.now();
            self.last = Some(begun);
            if let State::Idle(mut sources) = std::mem::replace(&mut self.state, State::Moved) {
                self.state = State::Reading(Box::pin(async move {
                    let reading = sources.read(begun).await;
                    (sources, reading)
                }));
            }
        }
        let State::Reading(running) = &mut self.state else { return pending().await };
        let (sources, reading) = running.await;
        self.state = State::Idle(sources);
        reading
    }
}
