//! The bell: tells a `ListAndWatch` stream that its list may have changed.

use super::sync::{AtomicU64, Ordering};
use crossbeam::utils::CachePadded;
use std::{fmt, sync::OnceLock};

/// A version that only grows, and a call that wakes whoever waits for the next one.
#[derive(Default)]
pub struct Bell {
    version: CachePadded<AtomicU64>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Bell {
    /// The current version. What was written before the ring that made it is visible to the caller.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
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
