//! Durations, counted in buckets that are there from the start: recording one costs two additions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets, in nanoseconds: from what an atomic path takes to what a person notices.
pub const BOUNDS_NS: [u64; 16] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// How long something took, every time.
#[derive(Debug, Default)]
pub struct Latency {
    /// One for each bound, and one for what took longer.
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// A latency at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How many took at most as long as each bound and longer than the one before; the last took longer than all.
    pub buckets: Vec<u64>,
    /// All durations together, in nanoseconds.
    pub sum_ns: u64,
}

impl Latency {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_NS.partition_point(|&bound| bound < took);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(took, Ordering::Relaxed);
    }

    /// What was counted so far. Recordings that go on meanwhile are in it or not, each for itself.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

impl Reading {
    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound below which `share` of the durations lie (0.5: half of them), in nanoseconds; `None` where there is
    /// none, or it is beyond the last bound.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        if wanted == 0 {
            return None;
        }
        let mut seen = 0;
        let place = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        BOUNDS_NS.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        let latency = Latency::default();
        for nanos in [0, 5_000, 5_001, 10_000_000_001] {
            latency.record(Duration::from_nanos(nanos));
        }
        let read = latency.read();
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[16]), (2, 1, 1));
        assert_eq!((read.count(), read.sum_ns), (4, 10_000_010_002));
    }

    #[test]
    fn half_of_the_durations_lie_below_the_median() {
        let latency = Latency::default();
        assert_eq!(latency.read().quantile_ns(0.5), None);
        for micros in [1, 1, 40, 40, 40] {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.read().quantile_ns(0.4), Some(5_000));
        assert_eq!(latency.read().quantile_ns(0.5), Some(50_000));
    }

    #[test]
    fn the_bounds_ascend() {
        assert!(BOUNDS_NS.is_sorted());
    }
}
