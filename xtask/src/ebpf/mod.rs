//! `cargo xtask ebpf`: builds the kernel probe's object from `agent-ebpf`, and checks the one that is there.
//!
//! The object lies beside its source, with a record of what made it, so that building vfiod needs stable Rust only.
//!
//! ```text
//! toolchain  a compiler that brings the sources of its own library: a distribution's, or upstream's nightly
//! linker     bpf-linker for that compiler's LLVM, built once into the cache
//! build      the object, without any path of this machine in it
//! record     what made the object, of which sources
//! check      same sources? same bytes, where the toolchain is the same? does the kernel's verifier accept it?
//! ```

mod build;
mod check;
mod linker;
mod record;
mod toolchain;

use crate::workspace;
use anyhow::{Context, Result};
use std::{fs, path::PathBuf, process::ExitCode};

pub use check::{check, is_of_its_sources};

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Build nothing new: check that the object is of these sources, comes out of its toolchain byte for byte, and passes
    /// the verifier of the running kernel
    #[arg(long)]
    check: bool,
    /// The compiler to use
    #[arg(long, value_enum, default_value_t)]
    toolchain: toolchain::Choice,
}

/// The folder of the object and its record, one pair for each processor architecture.
fn folder() -> PathBuf {
    workspace::root().join("agent-ebpf/object")
}

/// The architecture whose registers the probe reads: objects differ by it.
const ARCHITECTURE: &str = std::env::consts::ARCH;

fn object_path() -> PathBuf {
    folder().join(format!("{ARCHITECTURE}.o"))
}

/// Runs the task.
///
/// # Errors
/// When there is no toolchain and none may be installed, or the sources do not compile.
pub fn main(args: &Args) -> Result<ExitCode> {
    if args.check {
        return Ok(match check(args.toolchain)? {
            outcome if outcome.failed == 0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        });
    }
    let toolchain = toolchain::find(args.toolchain)?;
    let object = build::object(&toolchain)?;
    let record = record::Record::of(&object, &toolchain)?;
    fs::create_dir_all(folder())?;
    fs::write(object_path(), &object).with_context(|| format!("cannot write {}", object_path().display()))?;
    record.write()?;
    println!("{}: {} bytes, by {toolchain}", object_path().display(), object.len());
    Ok(ExitCode::SUCCESS)
}
