//! The command line: one file a subcommand.
//!
//! Data goes to stdout, diagnostics to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 bad configuration.

pub mod check;
mod devices;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Hands a host's VFIO devices to KubeVirt virtual machines.
#[derive(Debug, Parser)]
#[command(name = "vfiod", version, disable_help_subcommand = true, max_term_width = 120)]
#[command(after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 3 bad configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve this host's devices to the kubelet
    Run(run::RunArgs),
    /// Show this host's candidates: resource, driver, group, NUMA node, health and why
    Devices(devices::DevicesArgs),
    /// Validate a configuration
    Check(check::CheckArgs),
    /// Print the version
    Version,
}

/// Why a subcommand failed, and so how the process exits.
#[derive(Debug)]
enum Failure {
    /// Exit code 1.
    Error(String),
    /// Exit code 2.
    Usage(String),
    /// Exit code 3.
    Config(String),
}

/// Parses the command line and runs what it names.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Devices(args) => devices::run(&args),
        Command::Check(args) => return check::run(&args),
        Command::Version => {
            println!("vfiod {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    let (code, message) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Error(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Config(message)) => (3, message),
    };
    eprintln!("vfiod: {message}");
    ExitCode::from(code)
}
