//! The tasks of the repository: `cargo xtask <task>`, one module a task.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod browser;
mod cluster;
mod demo;
mod deploy;
mod ebpf;
mod image;
mod kubectl;
mod libvirt;
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
    /// Measure vfiod beside the fastest server that tonic allows, and tell which bounds hold
    Bench(bench::Args),
    /// Build everything, bring it to a cluster, and show what its nodes serve
    BuildAndDeploy(deploy::Args),
    /// Start a real Kubernetes of one node on this machine, and check vfiod there, or run a command
    Cluster(cluster::Args),
    /// Show the main job as it happens, on a simulated node with thousands of devices
    Demo(demo::Args),
    /// Build the kernel probe's object, or check the one that is there
    Ebpf(ebpf::Args),
    /// Write the container image, as an OCI archive that containerd, podman, kind and docker load
    Image(image::Args),
    /// Everything that must hold: format, lints, tests, docs, and the checks on a real kernel
    Test(test::Args),
    /// Boot a real kernel in QEMU and check vfiod there on real VFIO devices
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Bench(args) => bench::main(&args),
        Task::BuildAndDeploy(args) => deploy::main(&args),
        Task::Cluster(args) => cluster::main(&args),
        Task::Demo(args) => demo::main(&args),
        Task::Ebpf(args) => ebpf::main(&args),
        Task::Image(args) => image::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Vm(args) => vm::main(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
