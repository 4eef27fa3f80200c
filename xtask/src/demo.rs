//! `cargo xtask demo`: builds vfiod and the demo as they are shipped, and becomes the demo.
//!
//! The story itself is `tests/src/demo`, in a binary of its own, so that the other tasks need not build the simulator.

use crate::{vm, workspace};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Show it on a real kernel, in QEMU, with real VFIO devices
    #[arg(long, conflicts_with = "options")]
    vm: bool,
    /// Options of the demo: --pci, --mdevs, --repeat; -- --help lists them
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds and shows. Returns only where something fails: the demo takes this process's place, so that a key press ends
/// it and its exit code is the task's.
pub fn main(args: &Args) -> Result<ExitCode> {
    if args.vm {
        return vm::tour();
    }
    eprintln!("building vfiod and the demo, optimized; the first time this takes some minutes");
    let built =
        workspace::build_aloud(&[("vfiod", "vfiod"), ("vfiod-tests", "vfiod-demo")], workspace::Profile::Release)?;
    let program = |name: &str| built.get(name).with_context(|| format!("cargo built no {name}"));
    let mut demo = Command::new(program("vfiod-demo")?);
    demo.args(&args.options).env("VFIOD_BIN", program("vfiod")?);
    Err(demo.exec()).context("the demo cannot be started")
}
