//! `cargo xtask demo`: builds vfiod and the demo as they are shipped, and becomes the demo.
//!
//! The story itself is `tests/src/demo`, in a binary of its own, so that the other tasks need not build the simulator;
//! that of `--vm` is `tests/src/vm/tour.rs`.

use crate::{vm, workspace};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// PCI functions of the simulated node (default: 4096)
    #[arg(long, value_name = "COUNT", conflicts_with = "vm")]
    pci: Option<u32>,
    /// Mediated devices of the simulated node (default: 1024)
    #[arg(long, value_name = "COUNT", conflicts_with = "vm")]
    mdevs: Option<u32>,
    /// How many devices are taken away and given back (default: 25)
    #[arg(long, value_name = "COUNT", conflicts_with = "vm")]
    repeat: Option<u32>,
    /// Show it on a real kernel, in QEMU, with real VFIO devices
    #[arg(long)]
    vm: bool,
    /// Behind --vm: options of `cargo xtask vm`, such as --kernel
    #[arg(value_name = "VM_OPTION", last = true, requires = "vm")]
    vm_options: Vec<String>,
}

impl Args {
    /// The arguments of the demo's program.
    fn options(&self) -> Vec<String> {
        let given = [("--pci", self.pci), ("--mdevs", self.mdevs), ("--repeat", self.repeat)];
        given.iter().filter_map(|(name, count)| count.map(|count| format!("{name}={count}"))).collect()
    }
}

/// Builds and shows. Without `--vm` it returns only where something fails: the demo takes this process's place, so that
/// a key press ends it and its exit code is the task's.
pub fn main(args: &Args) -> Result<ExitCode> {
    if args.vm {
        return vm::tour(&args.vm_options);
    }
    eprintln!("building vfiod and the demo, optimized; the first time this takes some minutes");
    let built =
        workspace::build_aloud(&[("vfiod", "vfiod"), ("vfiod-tests", "vfiod-demo")], workspace::Profile::Release)?;
    let program = |name: &str| built.get(name).with_context(|| format!("cargo built no {name}"));
    let mut demo = Command::new(program("vfiod-demo")?);
    demo.args(args.options()).env("VFIOD_BIN", program("vfiod")?);
    Err(demo.exec()).context("the demo cannot be started")
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

    fn of(line: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("demo").chain(line.split_whitespace())).map(|cli| cli.args)
    }

    #[test]
    fn the_size_of_the_node_is_handed_on() {
        assert_eq!(of("--pci 64 --repeat 2").unwrap().options(), ["--pci=64", "--repeat=2"]);
        assert!(of("").unwrap().options().is_empty());
    }

    #[test]
    fn a_real_kernel_has_no_size_and_takes_options_of_its_own() {
        assert_eq!(of("--vm -- --kernel vmlinuz").unwrap().vm_options, ["--kernel", "vmlinuz"]);
        assert!(of("--vm --pci 64").is_err());
        assert!(of("-- --kernel vmlinuz").is_err());
    }
}
