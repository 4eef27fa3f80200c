//! How many instructions the hot paths take, counted by callgrind and compared with what is recorded.

use super::tally::Tally;
use crate::{
    process,
    vm::tools::{Need, all_present},
    workspace,
};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Where the counts are kept, by path.
const RECORD: &str = "agent-core/examples/instructions.json";
/// Set to write the record instead of comparing with it.
const RECORDING: &str = "VFIOD_RECORD";
/// What a compiler of another day, or the C library of another machine, may change: memory is copied and compared in the
/// way that suits the processor.
const TOLERANCE: f64 = 0.15;
/// The paths, and how often each is gone in the shorter of two runs: what they differ by is the path alone, without the
/// start.
const PATHS: [(&str, u64); 5] =
    [("allocate", 500), ("allocate-8", 200), ("granted", 500), ("preferred", 20), ("event", 500)];
/// How much longer the longer run is.
const LONGER: u64 = 5;

/// Counts and compares.
///
/// # Errors
/// Where the paths cannot be built or counted.
pub(super) fn run() -> Result<Tally> {
    all_present(
        "instructions",
        &[Need { name: "valgrind", package: "valgrind", present: || process::find("valgrind").is_some() }],
    )?;
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--release", "--package", "vfiod-core", "--example", "hot_paths"]);
    process::output(&mut build)?;
    let program = workspace::target()?.join("release/examples/hot_paths");
    let mut counts = BTreeMap::new();
    for (path, few) in PATHS {
        let of = |count| instructions(&program, path, count);
        counts.insert(path.to_owned(), (of(few * LONGER)? - of(few)?) / (few * (LONGER - 1)));
    }
    let record = workspace::root().join(RECORD);
    if std::env::var_os(RECORDING).is_some() {
        fs::write(&record, format!("{:#}\n", serde_json::to_value(&counts)?))?;
    }
    let text = fs::read_to_string(&record).with_context(|| format!("cannot read {RECORD}"))?;
    let recorded: BTreeMap<String, u64> = serde_json::from_str(&text).with_context(|| format!("{RECORD} is broken"))?;
    let mut tally = Tally::default();
    for (path, &count) in &counts {
        let before = *recorded.get(path).with_context(|| format!("{RECORD} has no {path}"))?;
        let (verdict, one) = judge(count, before);
        println!("{path}: {count} instructions, {before} recorded: {verdict}");
        tally += one;
    }
    Ok(tally)
}

fn judge(count: u64, before: u64) -> (String, Tally) {
    let change = count as f64 / before as f64 - 1.0;
    if change > TOLERANCE {
        (format!("{:.0} % more than it may take", change * 100.0), Tally::failed(1))
    } else if change < -TOLERANCE {
        (format!("{:.0} % less; record it with {RECORDING}=1", -change * 100.0), Tally::passed(1))
    } else {
        ("as it was".to_owned(), Tally::passed(1))
    }
}

/// The instructions of one run.
fn instructions(program: &Path, path: &str, count: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([path, &count.to_string()]);
    let output = command.output().context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).with_context(|| format!("callgrind counted nothing:\n{said}"))
}

/// The number in callgrind's line `==123== Collected : 4567`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n"), Some(1_234_567));
        assert_eq!(collected("valgrind: no such program"), None);
    }

    #[test]
    fn only_a_longer_path_fails() {
        assert_eq!(judge(1100, 1000).1, Tally::passed(1));
        assert_eq!(judge(500, 1000).1, Tally::passed(1));
        assert!(judge(500, 1000).0.contains("50 % less"));
        assert_eq!(judge(1200, 1000).1, Tally::failed(1));
    }
}
