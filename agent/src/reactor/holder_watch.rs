//! Who has what open: looks at the kernel's tables, one at a time, and what they and the events change.

use crate::{
    holders::{Book, Taken, Tracker, at_boot, explain, held},
    probe::{CensusTaker, Event, EventKind},
    status::{First, Look, permitted, piece},
};
use std::{
    future::pending,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::broadcast,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};
use vfiod_core::{
    holding::{Held, Object, Opening},
    inventory::Inventory,
    ownership::Moment,
};
use vfiod_proto::status::HolderEvent;

/// How much longer than a look the pause after it is at least: looks take at most a fifth of a processor, whatever
/// happens.
const PAUSE_PER_LOOK: u32 = 4;

/// Changes that wait for a slow reader of `vfiod holders --follow`.
const FOLLOWED: usize = 1024;

/// Follows what is open.
pub(super) struct HolderWatch {
    tracker: Tracker,
    book: Arc<Book>,
    taker: CensusTaker,
    wanted: bool,
    earliest: Instant,
    running: Option<Running>,
    /// Questions that a look answers that begins after them.
    asked: Vec<(Instant, Look)>,
    followers: broadcast::Sender<HolderEvent>,
    failed: bool,
}

struct Running {
    begun: Instant,
    look: JoinHandle<io::Result<Taken>>,
}

/// A look that has ended.
pub(super) struct Looked {
    begun: Instant,
    taken: io::Result<Taken>,
}

impl HolderWatch {
    pub(super) fn new(book: Book, taker: CensusTaker) -> Self {
        Self {
            tracker: Tracker::default(),
            book: Arc::new(book),
            taker,
            wanted: true,
            earliest: Instant::now(),
            running: None,
            asked: Vec::new(),
            followers: broadcast::Sender::new(FOLLOWED),
            failed: false,
        }
    }

    /// Looks another way from now on.
    pub(super) fn look_by(&mut self, taker: CensusTaker) {
        self.taker = taker;
        self.wanted = true;
    }

    /// Whether somebody looks, or will.
    pub(super) const fn is_busy(&self) -> bool {
        self.wanted || self.running.is_some()
    }

    /// What is open now.
    pub(super) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Asks for a look that begins after this call.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// Takes a question.
    pub(super) fn ask(&mut self, query: Look) {
        self.asked.push((Instant::now(), query));
        // Somebody waits at a terminal.
        self.earliest = Instant::now();
        self.wanted = true;
    }

    /// The next look's result; waits for ever while nothing is wished. Cancelling it loses nothing.
    pub(super) async fn done(&mut self) -> Looked {
        loop {
            if self.running.is_none() {
                if !self.wanted {
                    return pending().await;
                }
                sleep_until(self.earliest).await;
                self.wanted = false;
                self.tracker.census_begins();
                let (book, taker) = (Arc::clone(&self.book), self.taker.clone());
                let look = spawn_blocking(move || book.take(&taker));
                self.running = Some(Running { begun: Instant::now(), look });
            }
            let Some(running) = &mut self.running else { continue };
            let taken = (&mut running.look).await;
            let begun = running.begun;
            self.running = None;
            self.earliest = Instant::now() + begun.elapsed() * PAUSE_PER_LOOK;
            return Looked { begun, taken: taken.unwrap_or_else(|error| Err(io::Error::other(error))) };
        }
    }

    /// Takes the result of a look. Returns whether somebody has closed something: an owner may be gone.
    pub(super) fn looked(&mut self, Looked { begun, taken }: Looked, inventory: &mut Inventory, now: Moment) -> bool {
        let mut released = false;
        match taken {
            Ok(taken) => {
                self.failed = false;
                self.wanted |= self.tracker.census(&taken, SystemTime::now());
                let is_closed = |object: &Object| self.tracker.get(*object).is_none();
                let closed: Vec<Object> =
                    inventory.holdings().iter().map(|(object, _)| object).filter(is_closed).collect();
                let closed = closed.into_iter().map(|object| (object, Held::default()));
                for (object, held) in closed.chain(self.tracker.all()) {
                    released |= self.apply(object, held, inventory);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    warn!("cannot see who has devices open: {error}; what is known holds");
                }
                self.tracker.census_failed(error.to_string());
            }
        }
        let ready = self.asked.extract_if(.., |(asked, _)| *asked <= begun).map(|(_, query)| query).collect::<Vec<_>>();
        for query in ready {
            self.answer(query, inventory, now);
        }
        released
    }

    /// Takes an event of the probe. Returns whether somebody has closed something.
    pub(super) fn happened(&mut self, event: &Event, inventory: &mut Inventory) -> bool {
        let Event { at_boot_ns, object, process, open_count, .. } = event;
        let changed = match event.kind {
            EventKind::GroupOpened | EventKind::DeviceOpened => {
                let when = at_boot(Duration::from_nanos(*at_boot_ns));
                self.tracker.opened(object, &self.book.recall(process), *open_count, when)
            }
            EventKind::GroupClosed | EventKind::DeviceClosed => self.tracker.closed(object, *open_count),
            EventKind::Removing | EventKind::Aer(_) | EventKind::Recovery(_) => None,
        };
        let Some((object, held, look)) = changed else { return false };
        self.wanted |= look;
        let released = self.apply(object, held, inventory);
        if !released && matches!(event.kind, EventKind::GroupClosed | EventKind::DeviceClosed) {
            // It was closed before anybody looked who has it open, or by one of several.
            debug!(%object, "closed by process {} ({})", process.pid, process.command);
        }
        released
    }

    /// Tells the inventory, the log and the followers what an object is now. Returns whether somebody has closed it.
    fn apply(&self, object: Object, now: Held, inventory: &mut Inventory) -> bool {
        let before = inventory.holdings().get(object).cloned().unwrap_or_default();
        if before == now {
            return false;
        }
        let of = |held: &Held, others: &Held| -> Vec<Opening> {
            held.by.iter().filter(|opening| !others.shows(opening.process.pid)).cloned().collect()
        };
        let (opened, closed, count) = (of(&now, &before), of(&before, &now), now.count);
        for opening in &closed {
            debug!(%object, "closed by {}", opening.process);
            self.tell("closed", object, Some(opening), count, inventory);
        }
        inventory.held(object, now);
        for opening in &opened {
            debug!(%object, "opened by {}", opening.process);
            self.tell("opened", object, Some(opening), count, inventory);
        }
        if opened.is_empty() && closed.is_empty() {
            debug!(%object, ?count, "open count");
        }
        !closed.is_empty()
    }

    fn tell(&self, what: &str, object: Object, opening: Option<&Opening>, count: Option<u32>, inventory: &Inventory) {
        if self.followers.receiver_count() > 0 {
            let event = crate::holders::event(inventory, &self.tracker, what, object, opening, count);
            // Nobody may listen any more.
            let _ = self.followers.send(event);
        }
    }

    fn answer(&self, query: Look, inventory: &Inventory, now: Moment) {
        // Whoever asked may be gone.
        match query {
            Look::Holders(answer) => drop(answer.send(held(inventory, &self.tracker))),
            Look::Follow(answer) => drop(answer.send((held(inventory, &self.tracker), self.followers.subscribe()))),
            Look::Devices(others, reply, answer) => {
                let piece = piece(inventory, &self.tracker, others, None, now);
                drop(answer.send(First { reply, permitted: permitted(inventory), piece }));
            }
            Look::Explain(id, answer) => drop(answer.send(explain(inventory, &self.tracker, id, now))),
        }
    }
}

/// Long enough for any look, and short enough not to hold the first list up.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(1);
