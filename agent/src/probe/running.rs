//! The probe at work.

use super::{
    Absent, Batch, CensusTaker, Event, HookState, Loaded, Losses, Object, ProbeOptions,
    attach::Attached,
    capabilities::Grant,
    closing::{Closing, Ended},
    event::{Told, understand},
    hooks::{Attachment, RELEASES},
    layout::{KernelLayout, LayoutError},
    lookup::Questions,
    losses::Watch,
    object_file::Value,
};
use arc_swap::ArcSwap;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};
use vfiod_abi::{Counters, Event as Raw, Plain};

/// Events taken at once, so that a storm cannot keep the reactor from its other work.
const MOST: usize = 4096;
/// So many events at once that others may have found no room.
const CROWD: usize = 16;
/// When the probe's counters are looked at for losses after something was told: what is lost is mostly lost in a crowd.
const COUNTERS_AFTER: Duration = Duration::from_secs(1);
/// How often they are looked at while nothing is told: what was lost made no event that could wake anybody.
const COUNTERS_EVERY: Duration = Duration::from_secs(10);

/// The probe: loaded, attached to what there is, and following VFIO's modules as they come and go.
///
/// Dropping it detaches everything.
pub struct Probe {
    ring: AsyncFd<RingBuf<MapData>>,
    counters: PerCpuArray<MapData, Value<Counters>>,
    questions: Questions,
    layout: Arc<ArcSwap<KernelLayout>>,
    attached: Attaching,
    /// Modules that have gone since the last time that something was attached.
    gone: Vec<String>,
    modules_changed: bool,
    /// They have been attached since the last batch.
    has_news: bool,
    states: Vec<HookState>,
    grant: Grant,
    closing: Closing,
    watch: Watch,
    next_count: Instant,
    shift_ns: i64,
}

/// The programs are with the probe, or on another thread that attaches them.
enum Attaching {
    Idle(Box<Attached>),
    Busy(JoinHandle<(Box<Attached>, Result<KernelLayout, LayoutError>)>),
    /// That thread has failed, and the programs with it.
    Lost,
}

impl Probe {
    /// Loads the probe and follows it: [`Loaded::load`], then [`Loaded::follow`], on this thread.
    ///
    /// # Errors
    /// [`Absent`]: everything that stands in the way, each thing with its remedy.
    pub fn start(options: &ProbeOptions) -> Result<(Self, CensusTaker), Absent> {
        Loaded::load(options)?.follow()
    }

    /// Follows what has been loaded.
    pub(super) fn of(loaded: Loaded) -> io::Result<(Self, CensusTaker)> {
        let Loaded { ring, counters, questions, layout, shared, attached, taker, grant, shift_ns, inherited, .. } =
            loaded;
        // SAFETY: the ring owns its descriptor, which stays the same and open until the `AsyncFd` drops it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(io::Error::from)?;
        let mut probe = Self {
            ring,
            counters,
            questions,
            layout: shared,
            states: attached.states().to_vec(),
            attached: Attaching::Idle(Box::new(attached)),
            gone: Vec::new(),
            modules_changed: false,
            has_news: false,
            grant,
            closing: Closing::default(),
            watch: Watch::default(),
            next_count: Instant::now() + COUNTERS_EVERY,
            shift_ns,
        };
        if inherited {
            probe.watch = Watch::resumed(&probe.sum()?);
            info!("the pinned kernel probe is taken over; what it has told meanwhile follows");
        }
        probe.configure(&layout);
        probe.tell_states();
        Ok((probe, taker))
    }

    /// Waits until something has happened, and takes all that is there. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the event loop is gone, or the kernel refuses the probe's own maps.
    pub async fn next(&mut self) -> io::Result<Batch> {
        loop {
            let look = self.closing.next_look().map_or(self.next_count, |look| look.min(self.next_count));
            let mut told = Vec::new();
            tokio::select! {
                ready = self.ring.readable_mut() => {
                    let mut guard = ready?;
                    if drain(guard.get_inner_mut(), self.shift_ns, &mut told) {
                        guard.clear_ready();
                    }
                }
                done = Self::attaching(&mut self.attached) => self.has_attached(done),
                () = sleep_until(look) => {}
            }
            let batch = self.gather(told)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// How often each of these objects is open now, in the same order: the kernel's own count. `None` for an object that
    /// is gone.
    ///
    /// # Errors
    /// When the kernel refuses to run the probe's own program.
    pub fn counts(&self, objects: &[Object]) -> io::Result<Vec<Option<u32>>> {
        objects.iter().map(|object| self.questions.count(object).map_err(io::Error::other)).collect()
    }

    /// What has been lost so far.
    #[must_use]
    pub const fn losses(&self) -> Losses {
        self.watch.losses()
    }

    /// Every hook and whether it is on.
    #[must_use]
    pub fn hooks(&self) -> &[HookState] {
        &self.states
    }

    /// Whether opens and releases are followed: VFIO is there and its hooks are on. Before its modules are loaded nothing
    /// can be open.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.states.iter().any(|state| state.function == RELEASES && state.attachment == Attachment::Attached)
    }

    /// The capabilities that were used.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    fn gather(&mut self, told: Vec<Told>) -> io::Result<Batch> {
        let now = Instant::now();
        if !told.is_empty() {
            self.next_count = self.next_count.min(now + COUNTERS_AFTER);
        }
        let mut batch = Batch::default();
        let is_crowd = told.len() >= CROWD;
        for told in told {
            match told {
                Told::Event(event) => batch.events.push(event),
                Told::Closing { event, call, count } => self.closing.begin(call, event, count, now),
                Told::Closed { event, call } => {
                    self.closing.end(call);
                    batch.events.push(event);
                }
                Told::ModuleLoaded => self.modules_changed = true,
                Told::ModuleFreed(name) => {
                    self.modules_changed = true;
                    self.gone.push(name);
                }
                Told::Seen(_) => {}
            }
        }
        let questions = &self.questions;
        let ended = self.closing.look(now, |event| questions.count(&event.object)).map_err(io::Error::other)?;
        for ended in ended {
            self.watch.release_missed();
            match ended {
                Ended::Seen(event) => batch.events.push(event),
                Ended::GivenUp(_) => batch.overrun = true,
            }
        }
        if now >= self.next_count {
            batch.overrun |= self.look_at_counters(Watch::look)?;
            // An open that seems to be under way is one whose return was missed if it still seems so next time.
            self.next_count = now + if self.watch.is_sure() { COUNTERS_EVERY } else { COUNTERS_AFTER };
        } else if is_crowd {
            batch.overrun |= self.look_at_counters(Watch::look_between)?;
        }
        if let Attaching::Idle(_) = self.attached {
            if self.modules_changed {
                self.attach();
            } else {
                batch.modules_changed = std::mem::take(&mut self.has_news);
            }
        }
        self.count(&mut batch.events)?;
        Ok(batch)
    }

    /// Reads the counts of the objects in the events, once for each object.
    fn count(&self, events: &mut [Event]) -> io::Result<()> {
        let mut counts: HashMap<Object, Option<u32>> = HashMap::new();
        for event in events {
            if event.object.key == 0 {
                event.open_count = None;
                continue;
            }
            let count = match counts.get(&event.object) {
                Some(count) => *count,
                None => {
                    let count = self.questions.count(&event.object).map_err(io::Error::other)?;
                    counts.insert(event.object, count);
                    count
                }
            };
            event.open_count = Some(count.unwrap_or(0));
        }
        Ok(())
    }

    fn look_at_counters(&mut self, look: fn(&mut Watch, &Counters) -> bool) -> io::Result<bool> {
        let sum = self.sum()?;
        let before = self.watch.losses();
        let lost = look(&mut self.watch, &sum);
        if lost {
            warn!(before = ?before, now = ?self.watch.losses(), "the kernel probe has lost events; looking at what is open");
        }
        Ok(lost)
    }

    /// The counters of all processors together.
    fn sum(&self) -> io::Result<Counters> {
        let counters = self.counters.get(&0, 0).map_err(io::Error::other)?;
        Ok(counters.iter().fold(Counters::default(), |sum, Value(one)| sum.plus(one)))
    }

    /// Has the programs attached on another thread: it takes long where many processors must agree.
    fn attach(&mut self) {
        self.modules_changed = false;
        let gone = std::mem::take(&mut self.gone);
        match std::mem::replace(&mut self.attached, Attaching::Lost) {
            Attaching::Idle(mut attached) => {
                self.attached = Attaching::Busy(spawn_blocking(move || {
                    attached.forget(&gone);
                    let layout = attached.attach_again();
                    (attached, layout)
                }));
            }
            other => self.attached = other,
        }
    }

    async fn attaching(
        attached: &mut Attaching,
    ) -> Result<(Box<Attached>, Result<KernelLayout, LayoutError>), JoinError> {
        match attached {
            Attaching::Busy(task) => task.await,
            Attaching::Idle(_) | Attaching::Lost => std::future::pending().await,
        }
    }

    fn has_attached(&mut self, done: Result<(Box<Attached>, Result<KernelLayout, LayoutError>), JoinError>) {
        self.has_news = true;
        match done {
            Ok((attached, layout)) => {
                self.states = attached.states().to_vec();
                self.attached = Attaching::Idle(attached);
                match layout {
                    Ok(layout) => {
                        self.layout.store(Arc::new(layout));
                        self.configure(&layout);
                    }
                    Err(error) => warn!("VFIO's modules have changed and the kernel probe cannot follow: {error}"),
                }
                self.tell_states();
            }
            Err(error) => {
                self.attached = Attaching::Lost;
                warn!("the kernel probe can no longer be attached, restart vfiod: {error}");
            }
        }
    }

    fn configure(&mut self, layout: &KernelLayout) {
        if let Err(error) = self.questions.object.configure(&layout.config) {
            warn!("the kernel probe cannot be told this kernel's layout: {error}");
        }
    }

    fn tell_states(&self) {
        for state in &self.states {
            match &state.attachment {
                Attachment::Failed(why) => {
                    warn!(function = state.function, program = state.program, "a hook cannot be attached: {why}");
                }
                other => debug!(function = state.function, program = state.program, "hook {other}"),
            }
        }
        if self.is_following() {
            info!("the kernel probe follows opens and releases of VFIO devices");
        } else {
            info!("the kernel probe waits for VFIO's modules");
        }
    }
}

/// Takes what is in the ring; says whether it was emptied.
fn drain(ring: &mut RingBuf<MapData>, shift_ns: i64, told: &mut Vec<Told>) -> bool {
    for _ in 0..MOST {
        let Some(item) = ring.next() else { return true };
        told.extend(Raw::read(&item).and_then(|raw| understand(&raw, shift_ns)));
    }
    false
}
