//! What was found: one verdict a check.

use super::check::{Check, all};
use std::collections::{BTreeMap, BTreeSet};

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The convention is kept, as far as it was seen.
    Passed,
    /// It is not kept.
    Failed(Vec<Finding>),
    /// Nothing was there to see it by; why.
    NotChecked(String),
    /// `--skip` names it.
    Skipped,
}

/// One way in which a convention is not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The resource, where the plugin has said its name.
    pub resource: String,
    /// What was expected and what was seen.
    pub what: String,
}

/// The verdicts while they are collected. A check that never gets one was not checked.
#[derive(Debug, Default)]
pub(super) struct Book {
    skipped: BTreeSet<&'static str>,
    passed: BTreeSet<&'static str>,
    failed: BTreeMap<&'static str, Vec<Finding>>,
    unchecked: BTreeMap<&'static str, String>,
}

/// The most findings that are kept of one check: a fault of every device need not be told of every device.
const MOST: usize = 5;

impl Book {
    pub(super) fn new(skip: &[&'static Check]) -> Self {
        Self { skipped: skip.iter().map(|check| check.name).collect(), ..Self::default() }
    }

    /// Whether any of these is wanted.
    pub(super) fn wants(&self, checks: &[&'static Check]) -> bool {
        checks.iter().any(|check| !self.skipped.contains(check.name))
    }

    /// The convention was kept this time.
    pub(super) fn pass(&mut self, check: &'static Check) {
        self.passed.insert(check.name);
    }

    /// The convention was not kept.
    pub(super) fn fail(&mut self, check: &'static Check, resource: &str, what: impl Into<String>) {
        let findings = self.failed.entry(check.name).or_default();
        let finding = Finding { resource: resource.to_owned(), what: what.into() };
        if findings.len() < MOST && !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Kept if `kept`, else failed with `what`.
    pub(super) fn judge<W: Into<String>>(
        &mut self,
        check: &'static Check,
        resource: &str,
        kept: bool,
        what: impl FnOnce() -> W,
    ) {
        if kept {
            self.pass(check);
        } else {
            self.fail(check, resource, what());
        }
    }

    /// It could not be checked; the first reason stays.
    pub(super) fn unchecked(&mut self, check: &'static Check, why: impl Into<String>) {
        self.unchecked.entry(check.name).or_insert_with(|| why.into());
    }

    /// None of these could be checked.
    pub(super) fn all_unchecked(&mut self, checks: &[&'static Check], why: &str) {
        for check in checks {
            self.unchecked(check, why);
        }
    }

    /// The verdicts, in the order of the table.
    pub(super) fn close(mut self) -> Vec<(&'static Check, Outcome)> {
        all()
            .map(|check| {
                let outcome = if self.skipped.contains(check.name) {
                    Outcome::Skipped
                } else if let Some(findings) = self.failed.remove(check.name) {
                    Outcome::Failed(findings)
                } else if self.passed.contains(check.name) {
                    Outcome::Passed
                } else {
                    let why = self.unchecked.remove(check.name);
                    Outcome::NotChecked(why.unwrap_or_else(|| "the checks before it did not get this far".to_owned()))
                };
                (check, outcome)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::checks::list::{NUMA, SIZE};

    fn outcome(book: Book, check: &Check) -> Outcome {
        book.close().into_iter().find(|(of, _)| *of == check).unwrap().1
    }

    #[test]
    fn one_failure_outweighs_every_pass_and_a_pass_every_reason_not_to_check() {
        let mut book = Book::default();
        book.unchecked(&NUMA, "no device");
        book.pass(&NUMA);
        assert_eq!(outcome(book, &NUMA), Outcome::Passed);
        let mut book = Book::default();
        book.pass(&NUMA);
        book.fail(&NUMA, "a/b", "node -1");
        book.pass(&NUMA);
        assert!(matches!(outcome(book, &NUMA), Outcome::Failed(_)));
    }

    #[test]
    fn what_nobody_saw_was_not_checked_and_what_is_skipped_stays_skipped() {
        let mut book = Book::new(&[&SIZE]);
        book.fail(&SIZE, "", "too long");
        assert!(!book.wants(&[&SIZE]) && book.wants(&[&SIZE, &NUMA]));
        let verdicts = book.close();
        assert!(verdicts.iter().all(|(check, outcome)| match outcome {
            Outcome::Skipped => check.name == SIZE.name,
            Outcome::NotChecked(why) => !why.is_empty(),
            _ => false,
        }));
    }

    #[test]
    fn a_fault_of_every_device_is_told_a_few_times() {
        let mut book = Book::default();
        for device in 0..100 {
            book.fail(&NUMA, "a/b", format!("device {device}"));
        }
        let Outcome::Failed(findings) = outcome(book, &NUMA) else { panic!("not failed") };
        assert_eq!(findings.len(), MOST);
    }
}
