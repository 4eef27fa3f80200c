//! One line a check, and a verdict that counts them.

use super::port::Port;
use anyhow::{Error, Result};

/// A check that this guest cannot make, and why.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// The count of checks so far.
#[derive(Default)]
pub struct Report {
    ok: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Reports the outcome of one check.
    pub fn add(&mut self, port: &mut Port, sentence: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => {
                self.ok += 1;
                port.say(&format!("ok   {sentence}"))
            }
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(why) => {
                    self.skipped += 1;
                    port.say(&format!("skip {sentence}: {why}"))
                }
                None => self.failed(port, sentence, &error),
            },
        }
    }

    /// Reports a failure.
    pub fn failed(&mut self, port: &mut Port, sentence: &str, error: &Error) -> Result<()> {
        self.failed += 1;
        port.say(&format!("FAIL {sentence}: {error:#}"))
    }

    /// Ends the report.
    pub fn verdict(&self, port: &mut Port) -> Result<()> {
        port.say(&format!("verdict ok={} failed={} skipped={}", self.ok, self.failed, self.skipped))
    }
}
