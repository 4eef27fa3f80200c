//! The board: what the daemon's threads note of their work, for operators to read.
//!
//! The reactor and the endpoints write, the administrative thread reads. Writing is an atomic operation on memory that is
//! there already, or the swap of a text where something changes its state: nobody waits for a reader.

mod condition;
mod counter;
mod latency;
mod served;

pub use condition::{Condition, Configured, Part};
pub use counter::Counter;
pub use latency::{BOUNDS_NS, Latency, Reading};
pub use served::{Refused, Served};

use arc_swap::ArcSwap;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};

/// Everything that is noted.
#[derive(Debug, Default)]
pub struct Board {
    /// From the arrival of an `Allocate` to its answer.
    pub allocate: Latency,
    /// From the arrival of a `GetPreferredAllocation` to its answer.
    pub preferred: Latency,
    /// From an event's arrival at the reactor to the `ListAndWatch` message that tells of it.
    pub event_to_stream: Latency,
    /// What the reactor heard and did.
    pub node: NodeCounters,
    /// What the thread of the cluster did.
    pub cluster: ClusterCounters,
    configured: ArcSwap<Configured>,
    conditions: [ArcSwap<Condition>; Part::ALL.len()],
    served: ArcSwap<Vec<Arc<Served>>>,
    followed: AtomicBool,
}

/// What the reactor counts. It is alone in writing, so the counters need no lines of their own.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Uevents of the kernel that concern devices.
    pub uevents: Counter,
    /// Times that the kernel dropped uevents or file events because they came too fast.
    pub events_dropped: Counter,
    /// Changes in watched folders.
    pub file_events: Counter,
    /// Opens that the probe told of.
    pub opens: Counter,
    /// Releases that the probe told of.
    pub releases: Counter,
    /// PCI errors that the probe told of.
    pub pci_errors: Counter,
    /// Devices whose drivers were asked to give them back.
    pub removals: Counter,
    /// Looks at the whole host, the first one included.
    pub scans: Counter,
    /// Looks at the whole host because a safety net was due, not because of an event.
    pub rescans: Counter,
    /// Devices whose verdict such a look changed: what no event had told.
    pub rescan_corrections: Counter,
    /// Looks at who has what open.
    pub censuses: Counter,
    /// Configurations that were read and put into force, the first one included.
    pub reloads_changed: Counter,
    /// Configurations that were read and meant nothing new.
    pub reloads_unchanged: Counter,
    /// Configurations that could not be read, or were rejected.
    pub reloads_failed: Counter,
    /// What the probe has lost, by cause; these are the kernel's own counts.
    pub losses: [Counter; 4],
    /// Devices whose verdict changed.
    pub transitions: Counter,
}

/// What the thread of the cluster counts.
#[derive(Debug, Default)]
pub struct ClusterCounters {
    /// Lists of the KubeVirt CRs: one at the start, one after each failure and after each watch that has expired.
    pub lists: Counter,
    /// Times that the API server could not be reached, or refused.
    pub failures: Counter,
    /// Events that were written, repetitions included.
    pub events_written: Counter,
    /// Events that were not: too many at once, refused, or given up while the API server was away.
    pub events_dropped: Counter,
}

impl Board {
    /// Sets how a part of the daemon is. Equal conditions cost a comparison.
    pub fn set(&self, part: Part, condition: Condition) {
        let Some(place) = self.conditions.get(part as usize) else { return };
        if **place.load() != condition {
            place.store(Arc::new(condition));
        }
    }

    /// How a part of the daemon is.
    #[must_use]
    pub fn condition(&self, part: Part) -> Arc<Condition> {
        self.conditions.get(part as usize).map(ArcSwap::load_full).unwrap_or_default()
    }

    /// Sets where the configuration comes from, and how it is.
    pub fn configured(&self, configured: Configured) {
        self.configured.store(Arc::new(configured));
    }

    /// Where the configuration comes from, and how it is.
    #[must_use]
    pub fn configuration(&self) -> Configured {
        **self.configured.load()
    }

    /// Notes that a resource has an endpoint.
    pub fn opened(&self, served: &Arc<Served>) {
        self.served.rcu(|all| {
            let mut all: Vec<_> = all.iter().filter(|other| other.name() != served.name()).cloned().collect();
            all.push(Arc::clone(served));
            all.sort_by(|a, b| a.name().cmp(b.name()));
            all
        });
    }

    /// Notes that the endpoint of a resource has ended.
    pub fn closed(&self, served: &Arc<Served>) {
        self.served.rcu(|all| all.iter().filter(|other| !Arc::ptr_eq(other, served)).cloned().collect::<Vec<_>>());
    }

    /// Notes whether somebody follows the verdicts on devices. What is read after this call, or what is told after it, has
    /// every verdict.
    pub fn followed(&self, followed: bool) {
        self.followed.store(followed, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether somebody follows the verdicts on devices, asked after they were given: either this says so, or who begins to
    /// follow reads them.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.followed.load(Ordering::Relaxed)
    }

    /// The resources that have an endpoint, by name.
    #[must_use]
    pub fn served(&self) -> Arc<Vec<Arc<Served>>> {
        self.served.load_full()
    }
}
