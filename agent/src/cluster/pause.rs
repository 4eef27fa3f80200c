//! How long to wait before the API server is asked again.

use std::time::Duration;

/// The first pause after a failure; doubles from one to the next.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause while nobody answers: such a try costs the server nothing, and its return is to be noticed soon.
const LONGEST_UNREACHED: Duration = Duration::from_millis(1500);
/// The longest pause while the server answers with an error: a try costs it something, and it asks for patience.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);

/// Why a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nobody answered.
    Unreached,
    /// The server answered with an error.
    Refused,
}

/// Pauses that grow with every failure.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// Begins anew after a success.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure. Half of it is left to chance, so that the agents of many nodes do not come back
    /// all at once.
    pub(super) fn next(&mut self, why: Why) -> Duration {
        self.next_at(why, fastrand::f64())
    }

    fn next_at(&mut self, why: Why, chance: f64) -> Duration {
        let longest = match why {
            Why::Unreached => LONGEST_UNREACHED,
            Why::Refused => LONGEST_REFUSED,
        };
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        pause / 2 + (pause / 2).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let mut pause = Pause::default();
        assert_eq!(pause.next_at(Why::Refused, 1.0), FIRST);
        assert_eq!(pause.next_at(Why::Refused, 1.0), FIRST * 2);
        for _ in 0..100 {
            pause.next_at(Why::Refused, 0.5);
        }
        assert_eq!(pause.next_at(Why::Refused, 1.0), LONGEST_REFUSED);
        assert_eq!(pause.next_at(Why::Unreached, 1.0), LONGEST_UNREACHED);
        pause.reset();
        assert_eq!(pause.next_at(Why::Unreached, 0.0), FIRST / 2);
    }

    proptest::proptest! {
        #[test]
        fn a_pause_is_between_half_of_it_and_all(failures in 0..200u32, chance in 0.0..1.0f64) {
            let pause = |chance| Pause { failures }.next_at(Why::Refused, chance);
            proptest::prop_assert!(pause(0.0) <= pause(chance) && pause(chance) <= pause(1.0));
            proptest::prop_assert!(pause(0.0) * 2 <= pause(1.0) + Duration::from_nanos(2) && !pause(0.0).is_zero());
        }
    }
}
