//! The command line: one file a subcommand.
//!
//! Data goes to stdout, diagnostics to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 bad configuration or document,
//! 4 a virtual machine would not start, 5 nothing to check (`conform`).

pub mod check;
mod conform;
mod devices;
mod explain;
mod holders;
mod hostdev;
mod known;
mod machines;
mod mark;
mod run;
mod seccomp;
mod shell;
mod sight;
mod source;
mod top;
mod vmi;
mod watch;
mod witness;

use crate::status::Mark;
use clap::{Parser, Subcommand};
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// Hands a host's VFIO devices to KubeVirt virtual machines.
#[derive(Debug, Parser)]
#[command(name = "vfiod", version, disable_help_subcommand = true, max_term_width = 120)]
#[command(after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 3 bad configuration or document, 4 a virtual machine \
                        would not start, 5 nothing to check.")]
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
    /// Show who has what open: process, container, pod, and whom the kubelet gave it to
    Holders(holders::HoldersArgs),
    /// Explain one device: what is true, what is missing, what to do next
    Explain(explain::ExplainArgs),
    /// Show a live view: resources, devices, health and why, who owns and who holds
    Top(top::TopArgs),
    /// Show what changes, a line each: health, owner, holder, devices that come and go
    Watch(watch::WatchArgs),
    /// Keep devices from being given to anybody; whoever owns them keeps them
    Cordon(mark::MarkArgs),
    /// End a cordon
    Uncordon(mark::MarkArgs),
    /// End a sticky fault: a fatal PCI error
    Clear(mark::MarkArgs),
    /// Validate a configuration
    Check(check::CheckArgs),
    /// Show what virt-launcher makes of a virtual machine and the environment of its container
    Hostdev(hostdev::HostdevArgs),
    /// Look at virtual machines that are to run on this host
    #[command(subcommand)]
    Vmi(vmi::VmiCommand),
    /// Check whether a device plugin keeps the conventions of the kubelet and of KubeVirt
    Conform(conform::ConformArgs),
    /// Write the seccomp profile that vfiod needs, io_uring included
    Seccomp(seccomp::SeccompArgs),
    /// Write completions for a shell to stdout
    Completions(shell::CompletionsArgs),
    /// Write the manual
    Man(shell::ManArgs),
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
    /// Told in the log already: the exit code that is left.
    Logged(u8),
}

impl Failure {
    /// How the process exits.
    const fn code(&self) -> u8 {
        match self {
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 3,
            Self::Logged(code) => *code,
        }
    }

    /// What to tell; nothing when it was told.
    fn message(&self) -> Option<&str> {
        match self {
            Self::Error(message) | Self::Usage(message) | Self::Config(message) => Some(message),
            Self::Logged(_) => None,
        }
    }

    /// Tells it in the log, for those who read every line of it with a program.
    fn logged(self) -> Self {
        if let Some(message) = self.message() {
            tracing::error!("{message}");
        }
        Self::Logged(self.code())
    }
}

/// Parses the command line and runs what it names.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Devices(args) => devices::run(&args),
        Command::Holders(args) => holders::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Top(args) => top::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Cordon(args) => mark::run(&args, Mark::Cordon),
        Command::Uncordon(args) => mark::run(&args, Mark::Uncordon),
        Command::Clear(args) => mark::run(&args, Mark::Clear),
        Command::Check(args) => return check::run(&args),
        Command::Hostdev(args) => hostdev::run(&args),
        Command::Vmi(command) => vmi::run(&command),
        Command::Conform(args) => conform::run(args),
        Command::Seccomp(args) => seccomp::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Version => {
            _ = writeln!(io::stdout(), "vfiod {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if let Some(message) = failure.message() {
        // Where it cannot be told, the exit code still says it.
        _ = writeln!(io::stderr(), "vfiod: {message}");
    }
    ExitCode::from(failure.code())
}
