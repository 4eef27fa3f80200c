//! The bell: tells a `ListAndWatch` stream that its list may have changed.

use super::sync::{AtomicU64, Ordering};
use crate::ownership::Moment;
use crossbeam::utils::CachePadded;
use std::{fmt, sync::OnceLock, time::Duration};

/// A version that only grows, and a call that wakes whoever waits for the next one.
#[derive(Default)]
pub struct Bell {
    version: CachePadded<AtomicU64>,
    /// When the oldest event came that rang it and was not heard yet, in microseconds and one; 0 without one.
    event: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Bell {
    /// The current version. What was written before the ring that made it is visible to the caller.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes a new version and wakes, because of an event that came at `event`, where it was one.
    pub fn ring_for(&self, event: Option<Moment>) {
        if let Some(event) = event {
            let micros = u64::try_from(event.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
            // An older event that is still to be heard keeps its moment.
            let _ = self.event.compare_exchange(0, micros, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.ring();
    }

    /// When the oldest event came since the last call that rang the bell.
    pub fn heard(&self) -> Option<Moment> {
        self.event.swap(0, Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// Makes a new version and wakes.
    pub fn ring(&self) {
        self.version.fetch_add(1, Ordering::Release);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Sets what a ring calls; the first call counts. `wake` must not block.
    pub fn connect(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("version", &self.version()).finish_non_exhaustive()
    }
}
