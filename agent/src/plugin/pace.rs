//! The pace of `ListAndWatch`: isolated changes go out at once, storms are folded.
//!
//! Each message makes the kubelet write its checkpoint (kubelet: `pkg/kubelet/cm/devicemanager/manager.go`,
//! `genericDeviceUpdateCallback`), so a resource has a bucket of messages that refills slowly.

use std::time::Duration;
use vfiod_core::ownership::Moment;

/// Messages that may go out back to back.
const BUCKET: u32 = 100;
/// The time in which one message is earned.
const REFILL: Duration = Duration::from_millis(50);

/// The bucket of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    /// The moment at which the bucket was, or will be, empty.
    empty_at: Moment,
}

impl Pace {
    pub(super) const fn new(now: Moment) -> Self {
        Self { empty_at: now }
    }

    /// When the next message may go out: now, or later.
    pub(super) fn next(&mut self, now: Moment) -> Moment {
        // The bucket is full when nothing was sent for BUCKET * REFILL.
        let due = self.empty_at.max(now);
        let earliest = due.saturating_sub(REFILL * (BUCKET - 1));
        earliest.max(now)
    }

    /// Notes that a message goes out.
    pub(super) fn sent(&mut self, now: Moment) {
        self.empty_at = self.empty_at.max(now) + REFILL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_go_at_once_and_then_twenty_a_second() {
        let mut pace = Pace::new(Duration::ZERO);
        let mut now = Duration::from_secs(5);
        let start = now;
        for _ in 0..100 {
            assert_eq!(pace.next(now), now);
            pace.sent(now);
        }
        for _ in 0..20 {
            let at = pace.next(now);
            assert!(at > now);
            now = at;
            pace.sent(now);
        }
        assert_eq!(now - start, Duration::from_secs(1));
    }

    #[test]
    fn an_isolated_change_never_waits() {
        let mut pace = Pace::new(Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..1000 {
            now += Duration::from_millis(50);
            assert_eq!(pace.next(now), now);
            pace.sent(now);
        }
    }
}
