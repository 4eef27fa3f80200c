//! What the probe has not told.

use vfiod_abi::Counters;

/// What was lost since the probe was loaded. The counts of opens are read from the kernel all the same: a loss can delay
/// and never lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events for which the ring buffer had no room.
    pub ring_full: u64,
    /// Opens whose return was missed, so that they made no event.
    pub opens_missed: u64,
    /// Releases whose return was missed; they were told when the kernel's count showed them.
    pub releases_missed: u64,
    /// Calls that were no longer known when they returned: more were under way than the probe keeps in mind.
    pub forgotten: u64,
}

/// Finds out from the probe's counters whether something was lost.
#[derive(Debug, Default)]
pub(super) struct Watch {
    losses: Losses,
    /// Opens that had begun and not ended at the last look.
    under_way: u64,
}

impl Watch {
    /// Goes on where another process has watched the same probe: what was lost by now is no news.
    pub(super) const fn resumed(counters: &Counters) -> Self {
        let under_way = counters.opens_begun.saturating_sub(counters.opens_done.saturating_add(counters.opens_failed));
        let (ring_full, forgotten) = (counters.ring_full, counters.begins_forgotten);
        Self { losses: Losses { ring_full, opens_missed: under_way, releases_missed: 0, forgotten }, under_way }
    }

    /// Takes the counters of now, at the end of an interval; says whether more was lost than at the last look.
    ///
    /// An open that has begun and not ended may still be under way: only what was so at the ends of two intervals counts
    /// as missed.
    pub(super) fn look(&mut self, counters: &Counters) -> bool {
        let ended = counters.opens_done.saturating_add(counters.opens_failed);
        let under_way = counters.opens_begun.saturating_sub(ended);
        let missed = under_way.min(self.under_way);
        self.under_way = under_way;
        let more_missed = missed > self.losses.opens_missed;
        self.losses.opens_missed = missed;
        self.look_between(counters) || more_missed
    }

    /// Takes the counters of now, at any time, for what is lost for good.
    pub(super) const fn look_between(&mut self, counters: &Counters) -> bool {
        let (ring_full, forgotten) = (counters.ring_full, counters.begins_forgotten);
        let more = ring_full > self.losses.ring_full || forgotten > self.losses.forgotten;
        self.losses.ring_full = ring_full;
        self.losses.forgotten = forgotten;
        more
    }

    /// Whether every open that has begun has ended, or is known to have been missed.
    pub(super) const fn is_sure(&self) -> bool {
        self.under_way <= self.losses.opens_missed
    }

    /// A release was found ended whose end was not told.
    pub(super) const fn release_missed(&mut self) {
        self.losses.releases_missed = self.losses.releases_missed.saturating_add(1);
    }

    pub(super) const fn losses(&self) -> Losses {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(begun: u64, done: u64, failed: u64) -> Counters {
        Counters { opens_begun: begun, opens_done: done, opens_failed: failed, ..Counters::default() }
    }

    #[test]
    fn an_open_under_way_is_not_a_missed_one() {
        let mut watch = Watch::default();
        assert!(!watch.look(&counters(5, 3, 1)));
        assert!(!watch.look(&counters(9, 4, 5)));
        assert_eq!(watch.losses(), Losses::default());
    }

    #[test]
    fn a_missed_return_is_told_once() {
        let mut watch = Watch::default();
        assert!(!watch.look(&counters(5, 4, 0)));
        assert!(!watch.look_between(&counters(5, 4, 0)), "it may be under way");
        assert!(!watch.is_sure(), "so it is looked at again soon");
        assert!(watch.look(&counters(5, 4, 0)));
        assert!(!watch.look(&counters(8, 7, 0)), "the same one");
        assert!(watch.is_sure());
        assert_eq!(watch.losses().opens_missed, 1);
    }

    #[test]
    fn what_was_lost_before_a_probe_was_taken_over_is_no_news() {
        let before = Counters { ring_full: 7, begins_forgotten: 1, ..counters(9, 5, 2) };
        let mut watch = Watch::resumed(&before);
        assert!(!watch.look(&before) && !watch.look(&before));
        assert!(watch.look(&Counters { ring_full: 8, ..before }));
    }

    #[test]
    fn a_full_ring_and_forgotten_begins_are_told_at_once() {
        let mut watch = Watch::default();
        assert!(watch.look(&Counters { ring_full: 2, ..Counters::default() }));
        assert!(!watch.look(&Counters { ring_full: 2, ..Counters::default() }));
        assert!(watch.look_between(&Counters { ring_full: 2, begins_forgotten: 1, ..Counters::default() }));
    }
}
