//! Numbers that nobody can foresee.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A generator (xorshift64*; S. Vigna, "An experimental exploration of Marsaglia's xorshift generators").
pub struct Dice(u64);

impl Dice {
    /// One that nobody knows the state of.
    pub fn random() -> Self {
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    /// From 0 to `end`, without that.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    /// From 1 to `last`.
    pub fn up_to(&mut self, last: u64) -> u64 {
        1 + self.below(last)
    }

    /// One of these, unless there is none.
    pub fn index(&mut self, count: usize) -> Option<usize> {
        usize::try_from(self.below(count as u64)).ok().filter(|index| *index < count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_comes_up_and_no_other() {
        let mut dice = Dice::random();
        let mut seen = [0; 6];
        for _ in 0..1000 {
            seen[dice.index(6).unwrap()] += 1;
        }
        assert!(seen.iter().all(|times| *times > 50), "{seen:?}");
        assert_eq!(dice.index(0), None);
    }
}
