//! What is listed and who has it, kept beside the reactor: whoever looks asks here and slows nobody down.

use super::{feed::Note, row::row_of};
use crate::{
    board::{Board, Counter, Latency},
    holders::Use,
};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant as Timer, sleep_until},
};
use vfiod_core::{allocator::Resource, device::DeviceId, permit::ResourceName};
use vfiod_proto::status::{PartState, ResourceState, Row, RowName, Summary, Totals, Update};

/// How long changes are gathered after the first was told.
const GATHER: Duration = Duration::from_millis(50);
/// How often followers are told how the daemon is.
const TICK: Duration = Duration::from_secs(1);
/// Updates that wait for a slow follower before it is told everything anew.
const WAITING: usize = 64;
/// Rows in one update, so that none is too large for anybody.
const ROWS: usize = 500;

/// A question to the model.
#[derive(Debug)]
pub enum Ask {
    /// Everything, and what changes from then on.
    Follow(oneshot::Sender<Followed>),
    /// Everything.
    All(oneshot::Sender<Vec<Arc<Update>>>),
    /// Who has what open: the devices with a holder, each with its resource.
    Held(oneshot::Sender<Held>),
}

/// Devices that somebody has open, each with the resource that lists it.
pub type Held = Vec<(DeviceId, Option<ResourceName>, Arc<Use>)>;

/// Where questions go.
pub type Asks = mpsc::UnboundedSender<Ask>;

/// What a follower gets.
#[derive(Debug)]
pub struct Followed {
    /// Everything, in parts.
    pub now: Vec<Arc<Update>>,
    /// What changes from then on.
    pub changes: broadcast::Receiver<Arc<Update>>,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    board: Arc<Board>,
    begun: Instant,
    /// How the daemon is, as it was told last to whoever serves it.
    ready: fn(&Board) -> (bool, Vec<PartState>),
    resources: BTreeMap<ResourceName, Arc<Resource>>,
    uses: FxHashMap<DeviceId, Arc<Use>>,
    /// Rows that changed since followers were told last.
    dirty: BTreeSet<(ResourceName, DeviceId)>,
    followers: broadcast::Sender<Arc<Update>>,
}

impl Model {
    /// A model that knows nothing yet; `ready` says how the daemon is.
    #[must_use]
    pub fn new(board: Arc<Board>, ready: fn(&Board) -> (bool, Vec<PartState>)) -> Self {
        Self {
            board,
            begun: Instant::now(),
            ready,
            resources: BTreeMap::new(),
            uses: FxHashMap::default(),
            dirty: BTreeSet::new(),
            followers: broadcast::Sender::new(WAITING),
        }
    }

    /// Takes notes and answers questions until nobody asks any more.
    pub async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>, mut asks: mpsc::UnboundedReceiver<Ask>) {
        let (mut flush, mut tick): (Option<Timer>, Option<Timer>) = (None, None);
        let mut quiet_until = Timer::now();
        loop {
            tokio::select! {
                Some(note) = notes.recv() => {
                    self.take(note);
                    if !self.dirty.is_empty() && flush.is_none() {
                        flush = Some(quiet_until);
                    }
                }
                ask = asks.recv() => match ask {
                    Some(ask) => {
                        self.answer(ask);
                        tick.get_or_insert_with(|| Timer::now() + TICK);
                    }
                    None => return,
                },
                () = until(flush) => {
                    flush = None;
                    quiet_until = Timer::now() + GATHER;
                    self.flush();
                }
                () = until(tick) => {
                    let followed = self.followers.receiver_count() > 0;
                    self.board.followed(followed);
                    if followed {
                        self.tell(Update { summary: Some(self.summary()), ..update() });
                    }
                    tick = followed.then(|| Timer::now() + TICK);
                }
            }
        }
    }

    fn take(&mut self, note: Note) {
        for resource in note.opened {
            self.resources.insert(resource.name().clone(), resource);
        }
        let followed = self.followers.receiver_count() > 0;
        for (device, usage) in note.uses {
            if followed {
                let listing = self.resources.iter().filter(|(_, resource)| resource.table().get(device).is_some());
                self.dirty.extend(listing.map(|(name, _)| (name.clone(), device)));
            }
            match usage {
                Some(usage) => _ = self.uses.insert(device, usage),
                None => _ = self.uses.remove(&device),
            }
        }
        if self.uses.len() < self.uses.capacity() / 8 {
            self.uses.shrink_to_fit();
        }
        if followed {
            self.dirty.extend(note.transitions.into_iter().map(|changed| (changed.resource, changed.device)));
        }
        for resource in note.closed {
            // One of the same name may have been opened since.
            if self.resources.get(resource.name()).is_some_and(|now| Arc::ptr_eq(now, &resource)) {
                self.resources.remove(resource.name());
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        // Whoever asked may be gone.
        match ask {
            Ask::All(answer) => drop(answer.send(self.all())),
            Ask::Follow(answer) => {
                // First, so that what changes while everything is read is told again.
                let changes = self.followers.subscribe();
                self.board.followed(true);
                drop(answer.send(Followed { now: self.all(), changes }));
            }
            Ask::Held(answer) => {
                let held = self.uses.iter().filter(|(_, usage)| !usage.holders.is_empty());
                let with_resource = held.map(|(&device, usage)| {
                    let mut listing =
                        self.resources.iter().filter(|(_, resource)| resource.table().get(device).is_some());
                    (device, listing.next().map(|(name, _)| name.clone()), Arc::clone(usage))
                });
                drop(answer.send(with_resource.collect()));
            }
        }
    }

    fn usage(&self, device: DeviceId) -> Option<&Use> {
        self.uses.get(&device).map(Arc::as_ref)
    }

    /// Everything, in parts.
    fn all(&self) -> Vec<Arc<Update>> {
        let mut rows: Vec<Row> = Vec::new();
        for (name, resource) in &self.resources {
            let table = resource.table();
            rows.extend(table.slots().iter().map(|slot| row_of(name.as_str(), slot, self.usage(slot.id()))));
        }
        let mut parts: Vec<Update> = Vec::with_capacity(rows.len() / ROWS + 1);
        let mut rows = rows.into_iter();
        loop {
            let part: Vec<Row> = rows.by_ref().take(ROWS).collect();
            if part.is_empty() && !parts.is_empty() {
                break;
            }
            parts.push(Update { rows: part, ..update() });
        }
        if let Some(first) = parts.first_mut() {
            first.reset = true;
            first.summary = Some(self.summary());
        }
        if let Some(last) = parts.last_mut() {
            last.complete = true;
        }
        parts.into_iter().map(Arc::new).collect()
    }

    /// Tells what changed.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty).into_iter().peekable();
        while dirty.peek().is_some() {
            let mut changed = update();
            for (name, device) in dirty.by_ref().take(ROWS) {
                let table = self.resources.get(&name).map(|resource| resource.table());
                match table.as_ref().and_then(|table| table.get(device)) {
                    Some(slot) => changed.rows.push(row_of(name.as_str(), slot, self.usage(device))),
                    None => {
                        changed.gone.push(RowName { resource: Some(name.to_string()), device: device.to_string() });
                    }
                }
            }
            self.tell(changed);
        }
    }

    fn tell(&self, update: Update) {
        // Nobody may listen any more.
        let _ = self.followers.send(Arc::new(update));
    }

    fn summary(&self) -> Summary {
        let (ready, parts) = (self.ready)(&self.board);
        let resources = self.resources.iter().map(|(name, resource)| self.state(name, resource)).collect();
        Summary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            parts,
            resources,
            totals: Some(totals(&self.board)),
            up_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn state(&self, name: &ResourceName, resource: &Resource) -> ResourceState {
        let table = resource.table();
        let healthy = table.slots().iter().filter(|slot| slot.is_healthy()).count();
        let owned = self.uses.values().filter(|usage| usage.claimed.as_deref() == Some(name.as_str())).count();
        let served = self.board.served();
        let served = served.iter().find(|served| served.name() == name);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ResourceState {
            name: name.to_string(),
            devices: count(table.slots().len()),
            healthy: count(healthy),
            owned: count(owned),
            registered: served.is_some_and(|served| served.registered() && served.streams() > 0),
            allocations: served.map(|served| served.allocations.get()).unwrap_or_default(),
            refusals: served.map(|served| served.refusals().map(|(_, count)| count).sum()).unwrap_or_default(),
        }
    }
}

fn totals(board: &Board) -> Totals {
    let (node, served) = (&board.node, board.served());
    let sum = |counter: fn(&crate::board::Served) -> u64| served.iter().map(|served| counter(served)).sum();
    let all = |counters: &[&Counter]| counters.iter().map(|counter| counter.get()).sum();
    let quantile = |latency: &Latency, share| latency.read().quantile_ns(share);
    Totals {
        allocations: sum(|served| served.allocations.get()),
        refusals: sum(|served| served.refusals().map(|(_, count)| count).sum()),
        start_refusals: sum(|served| served.start_refusals.get()),
        events: all(&[&node.uevents, &node.file_events, &node.opens, &node.releases, &node.pci_errors, &node.removals]),
        transitions: node.transitions.get(),
        messages: sum(|served| served.messages.get()),
        opens: node.opens.get(),
        releases: node.releases.get(),
        probe_losses: node.losses.iter().map(Counter::get).sum(),
        rescan_corrections: node.rescan_corrections.get(),
        allocate_p50_ns: quantile(&board.allocate, 0.5),
        allocate_p99_ns: quantile(&board.allocate, 0.99),
        event_p50_ns: quantile(&board.event_to_stream, 0.5),
        event_p99_ns: quantile(&board.event_to_stream, 0.99),
    }
}

/// An update of now, without content.
fn update() -> Update {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Update { at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), ..Update::default() }
}

async fn until(timer: Option<Timer>) {
    match timer {
        Some(timer) => sleep_until(timer).await,
        None => pending().await,
    }
}
