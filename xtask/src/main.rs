//! The tasks of the repository: `cargo xtask <task>`, one module a task.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod process;
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
    /// Boot a real kernel in QEMU and check vfiod there on real VFIO devices
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Vm(args) => vm::main(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
