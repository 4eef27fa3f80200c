//! The tasks of the repository: `cargo xtask <task>`, one module a task.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod process;
mod test;
mod vm;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the vfiod repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must hold: format, lints, tests, docs, and the checks on a real kernel
    Test(test::Args),
    /// Boot a real kernel in QEMU and check vfiod there on real VFIO devices
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test(args) => test::main(&args),
        Task::Vm(args) => vm::main(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
