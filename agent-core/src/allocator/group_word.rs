//! The claim on an IOMMU group: one atomic word.

use super::sync::{AtomicU64, Ordering};
use crate::ownership::Moment;
use std::time::Duration;

/// The claim word of one IOMMU group.
///
/// `moment (µs) << 16 | generation << 2 | state`; the moments last for eight years. Every claim makes a new generation, so that the reactor, which learns
/// later what became of a claim, settles exactly the one it has seen and never a younger one.
///
/// Words are not padded to cache lines: an endpoint grants one request at a time, so two words of one line are hardly ever
/// written at once, and a host may have very many groups (docs/CONCURRENCY.md has the figures).
#[derive(Debug, Default)]
pub struct GroupWord(AtomicU64);

/// What the word said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(u64);

/// The state of a group's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// No member is claimed.
    Free,
    /// A member was answered to the kubelet; its pod is not known yet.
    Pending,
    /// A pod owns members.
    Owned,
}

const STATE: u64 = 0b11;
const GENERATION_SHIFT: u32 = 2;
const MOMENT_SHIFT: u32 = 16;
const GENERATION: u64 = (1 << MOMENT_SHIFT) - 1 - STATE;

impl GroupWord {
    /// What the word says now.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Claims the group at `now`, whatever it was: the kubelet is the authority, and it asks again for what it owns.
    pub fn claim(&self, now: Moment) {
        let moment = u64::try_from(now.as_micros()).unwrap_or(u64::MAX) << MOMENT_SHIFT;
        let next = |word: u64| {
            let generation = word.wrapping_add(1 << GENERATION_SHIFT) & GENERATION;
            moment | generation | ClaimState::Pending.bits()
        };
        let mut word = self.0.load(Ordering::Relaxed);
        while let Err(actual) = self.0.compare_exchange_weak(word, next(word), Ordering::AcqRel, Ordering::Relaxed) {
            word = actual;
        }
    }

    /// Moves the claim that was `seen` to `state`; does nothing and returns `false` when a younger claim has come.
    pub fn settle(&self, seen: Snapshot, state: ClaimState) -> bool {
        let settled = (seen.0 & !STATE) | state.bits();
        self.0.compare_exchange(seen.0, settled, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Snapshot {
    /// The state of the claim.
    #[must_use]
    pub const fn state(self) -> ClaimState {
        match self.0 & STATE {
            1 => ClaimState::Pending,
            2 => ClaimState::Owned,
            _ => ClaimState::Free,
        }
    }

    /// When the last claim was made; zero when there never was one.
    #[must_use]
    pub const fn moment(self) -> Moment {
        Duration::from_micros(self.0 >> MOMENT_SHIFT)
    }
}

impl ClaimState {
    const fn bits(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Pending => 1,
            Self::Owned => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_claim_keeps_its_moment() {
        let word = GroupWord::default();
        assert_eq!(word.load().state(), ClaimState::Free);
        word.claim(Duration::from_secs(5));
        assert!(word.settle(word.load(), ClaimState::Owned));
        assert_eq!((word.load().state(), word.load().moment()), (ClaimState::Owned, Duration::from_secs(5)));
    }

    #[test]
    fn a_younger_claim_is_never_settled_by_older_knowledge() {
        let word = GroupWord::default();
        word.claim(Duration::from_secs(5));
        let seen = word.load();
        word.claim(Duration::from_secs(5)); // the same microsecond
        assert!(!word.settle(seen, ClaimState::Free));
        assert_eq!(word.load().state(), ClaimState::Pending);
    }
}
