//! `cargo xtask bench`: builds vfiod, the floor and the measurement, and becomes the measurement.
//!
//! What is measured, and how, is `benches/src`, in binaries of its own, so that the other tasks need not build it.

use crate::workspace;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Less of everything: under a minute, and less exact
    #[arg(long)]
    quick: bool,
    /// Print where the time of each path goes (processor time and wake-ups by thread, system calls, parts) instead
    #[arg(long, conflicts_with_all = ["compare", "json"])]
    budget: bool,
    /// Only starts, and the memory after them
    #[arg(long, conflicts_with_all = ["churn", "budget"])]
    starts: bool,
    /// Only restarts of the kubelet of a host with 64 resources
    #[arg(long, conflicts_with_all = ["churn", "budget", "starts"])]
    restarts: bool,
    /// Only work without end, for so many minutes: nodes go and come, devices are allocated, unplugged and plugged in, and
    /// the kubelet restarts; the memory is printed as it goes
    #[arg(long, value_name = "MINUTES", conflicts_with = "budget")]
    churn: Option<f64>,
    /// Also measure another device plugin, which this shell command starts; it finds BENCH_KUBELET_DIR (as --kubelet-dir),
    /// BENCH_HOST_ROOT, BENCH_CONFIG and BENCH_RESOURCE in its environment. May be given several times
    #[arg(long, value_name = "CMD")]
    compare: Vec<String>,
    /// Where the figures are written as JSON (default: bench.json in the target folder)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the `release` profile itself instead of `measured`, which is built sooner
    #[arg(long)]
    release: bool,
}

impl Args {
    fn options(&self) -> Vec<String> {
        let quick = self.quick.then(|| "--quick".to_owned());
        let budget = self.budget.then(|| "--budget".to_owned());
        let starts = self.starts.then(|| "--starts".to_owned());
        let restarts = self.restarts.then(|| "--restarts".to_owned());
        let churn = self.churn.map(|minutes| format!("--churn={minutes}"));
        [quick, budget, starts, restarts, churn]
            .into_iter()
            .flatten()
            .chain(self.compare.iter().map(|command| format!("--compare={command}")))
            .collect()
    }
}

/// Builds and measures. It returns only where something fails: the measurement takes this process's place, so that a key
/// press ends it and its exit code is the task's.
pub fn main(args: &Args) -> Result<ExitCode> {
    eprintln!("building vfiod, the floor and the measurement, optimized; the first time this takes some minutes");
    let profile = if args.release { workspace::Profile::Release } else { workspace::Profile::Measured };
    let package = "vfiod-benches";
    let built =
        workspace::build_aloud(&[("vfiod", "vfiod"), (package, "vfiod-floor"), (package, "vfiod-bench")], profile)?;
    let program = |name: &str| built.get(name).with_context(|| format!("cargo built no {name}"));
    let json = args.json.clone().map_or_else(|| Ok(workspace::target()?.join("bench.json")), anyhow::Ok)?;
    let mut bench = Command::new(program("vfiod-bench")?);
    bench.arg("--vfiod").arg(program("vfiod")?).arg("--floor").arg(program("vfiod-floor")?);
    if !args.budget {
        bench.arg("--json").arg(json);
    }
    bench.args(args.options());
    Err(bench.exec()).context("the measurement cannot be started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn other_plugins_are_handed_on_as_they_were_given() {
        let line = ["bench", "--quick", "--compare", "./other --dir $BENCH_KUBELET_DIR", "--compare=b"];
        let args = Cli::parse_from(line).args;
        assert_eq!(args.options(), ["--quick", "--compare=./other --dir $BENCH_KUBELET_DIR", "--compare=b"]);
    }
}
