//! How many checks passed, failed and were skipped.

use std::{fmt, ops::AddAssign};

/// Counts of checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    pub(super) const fn passed(passed: usize) -> Self {
        Self { passed, failed: 0, skipped: 0 }
    }

    pub(super) const fn failed(failed: usize) -> Self {
        Self { passed: 0, failed, skipped: 0 }
    }

    pub(super) const fn skipped(skipped: usize) -> Self {
        Self { passed: 0, failed: 0, skipped }
    }

    /// The same, where a skipped check counts as failed.
    pub(super) const fn strict(self) -> Self {
        Self { failed: self.failed + self.skipped, skipped: 0, ..self }
    }

    /// Nothing failed, and something ran.
    pub(super) const fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// The counts of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(super) fn of_test_result(line: &str) -> Option<Self> {
        let counts = line.trim().strip_prefix("test result: ")?;
        let count = |what: &str| {
            counts
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(what))
                .and_then(|number| number.trim().parse().ok())
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.02s";
        assert_eq!(Tally::of_test_result(line), Some(Tally { passed: 12, failed: 1, skipped: 2 }));
        assert_eq!(Tally::of_test_result("test a::b ... ok"), None);
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!Tally::default().is_good());
        assert!(!Tally::skipped(3).is_good());
        assert!(Tally::passed(1).is_good());
    }
}
