//! The measurement: `cargo xtask bench` builds it, and starts it with the binaries.

use clap::Parser;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use vfiod_benches::{
    run::{Part, Plan, run},
    server::Contestant,
};

/// Measures vfiod beside the floor
#[derive(Debug, Parser)]
#[command(name = "vfiod-bench")]
struct Args {
    /// The binary of vfiod
    #[arg(long, value_name = "FILE")]
    vfiod: PathBuf,
    /// The binary of the floor
    #[arg(long, value_name = "FILE")]
    floor: PathBuf,
    /// Less of everything: under a minute
    #[arg(long)]
    quick: bool,
    /// Where the time of each path goes, instead of how long it is
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
    /// A shell command that starts another device plugin, measured in the same run; it finds BENCH_KUBELET_DIR,
    /// BENCH_HOST_ROOT, BENCH_CONFIG and BENCH_RESOURCE in its environment
    #[arg(long, value_name = "CMD")]
    compare: Vec<String>,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Args { vfiod, floor, quick, budget, starts, restarts, churn, compare, json } = Args::parse();
    if budget {
        let told = Contestant::vfiod(vfiod)
            .and_then(|vfiod| vfiod_benches::budget::budget(&vfiod, &Contestant::floor("floor", floor), quick));
        return match told {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let part = match churn {
        Some(minutes) => Part::Churn(Duration::from_secs_f64(minutes.clamp(0.0, 1e6) * 60.0)),
        None if starts => Part::Starts,
        None if restarts => Part::Restarts,
        None => Part::All,
    };
    let report = match run(&Plan { vfiod, floor, quick, part, compare }) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", report.table());
    if let Some(path) = json {
        if let Err(error) = std::fs::write(&path, format!("{:#}\n", report.json())) {
            eprintln!("error: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("figures as JSON: {}", path.display());
    }
    match report.missed() {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("{missed} bounds are missed");
            ExitCode::FAILURE
        }
    }
}
