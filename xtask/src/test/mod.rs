//! `cargo xtask test`: everything that must hold before a change is good.
//!
//! ```text
//! format ─ lints ─ tests (unit, property, end to end, documentation examples) ─ loom ─ tsan ─ instructions (of the
//! hot paths) ─ docs ─ ebpf (the probe's object) ─ image (in a real engine) ─ vm (a real kernel)
//! ```
//!
//! Every step runs, whatever the ones before it said. A step that this machine cannot run is named with what is
//! missing; with `CI` set in the environment that counts as a failure.

mod image;
mod instructions;
mod steps;
mod tally;
mod tsan;

use anyhow::Result;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use steps::STEPS;
use tally::Tally;

/// Which steps to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run only these steps: format, lints, tests, loom, tsan, instructions, docs, ebpf, image, vm
    #[arg(value_name = "STEP", value_parser = steps::names())]
    steps: Vec<String>,
}

/// How a step ended.
#[derive(Debug)]
enum Outcome {
    /// It ran; what it counted is in the tally.
    Ran(Tally),
    /// This machine cannot run it; why, and how to get what is missing.
    Skipped(String),
    /// It could not be run to its end.
    Broken(anyhow::Error),
}

/// Runs the steps and prints a line for each, then the totals.
///
/// # Errors
/// When there is nothing to run with at all.
pub fn main(args: &Args) -> Result<ExitCode> {
    let strict = std::env::var_os("CI").is_some();
    let mut results: Vec<(&str, Outcome, Duration)> = Vec::new();
    for step in STEPS.iter().filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name)) {
        println!("\n== {}: {}", step.name, step.about);
        let begun = Instant::now();
        let outcome = match (step.run)() {
            Ok(tally) => Outcome::Ran(tally),
            Err(error) => match error.downcast_ref::<crate::vm::Unavailable>() {
                Some(reason) => Outcome::Skipped(reason.to_string()),
                None => Outcome::Broken(error),
            },
        };
        if let Outcome::Broken(error) = &outcome {
            println!("{}: {error:#}", step.name);
        }
        results.push((step.name, outcome, begun.elapsed()));
    }

    let mut total = Tally::default();
    println!("\n== summary");
    for (name, outcome, took) in &results {
        let text = match outcome {
            Outcome::Ran(tally) => {
                total += *tally;
                tally.to_string()
            }
            Outcome::Skipped(reason) => {
                total += Tally::skipped(1);
                format!("skipped: {reason}")
            }
            Outcome::Broken(error) => {
                total += Tally::failed(1);
                format!("FAILED: {}", error.to_string().lines().next().unwrap_or_default())
            }
        };
        println!("{name:<12} {:>5} s  {text}", took.as_secs());
    }
    if strict {
        total = total.strict();
    }
    println!("\n{total}");
    Ok(if total.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
