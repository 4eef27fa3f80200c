//! Where the packages of a kernel come from: the machine's own apt, or that of another release of its distribution.

use super::apt::{Apt, sources};
use super::cache::Cache;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// A release whose packages apt can be asked for.
pub struct Archive {
    suite: Option<&'static str>,
    lists: PathBuf,
}

impl Archive {
    /// The release that the machine runs.
    pub fn own(cache: &Cache) -> Self {
        Self { suite: None, lists: cache.folder("apt") }
    }

    /// The release `suite`, whatever the machine runs.
    pub fn of_suite(cache: &Cache, suite: &'static str) -> Self {
        if sources::own_suite().is_some_and(|own| own == suite) {
            return Self::own(cache);
        }
        Self { suite: Some(suite), lists: cache.folder(&format!("apt-{suite}")) }
    }

    /// apt's answer to `ask`, from the machine's lists or, where these know nothing, from fresh private ones.
    pub fn ask<T>(&self, ask: impl Fn(&Apt) -> Result<T>) -> Result<T> {
        let system = Apt::system().context("apt is not on this machine")?;
        if let Some(suite) = self.suite {
            return ask(&Apt::of_suite(suite, &self.lists)?);
        }
        // The machine's lists may be absent (a fresh container image) or name files that its mirror has dropped since.
        ask(&system).or_else(|first| match Apt::private(&self.lists) {
            Ok(private) => ask(&private),
            Err(second) => Err(first.context(format!("{second:#}"))),
        })
    }
}
