//! `cargo xtask ebpf`: builds the kernel probe's objects from `agent-ebpf`, one for each processor architecture, and checks those that
//! are there.
//!
//! They lie beside their source, with a record of what made them, so that building vfiod needs stable Rust only.
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
use std::{fmt, fs, path::PathBuf, process::ExitCode};

pub use check::{check, is_of_its_sources};
pub use toolchain::{Choice, Compiler};

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Build nothing new: check that the object is of these sources, comes out of its toolchain byte for byte, and passes
    /// the verifier of the running kernel
    #[arg(long)]
    check: bool,
    /// The compiler to use
    #[arg(long, value_enum, default_value_t)]
    toolchain: Choice,
}

/// The folder of the object and its record, one pair for each processor architecture.
fn folder() -> PathBuf {
    workspace::root().join("agent-ebpf/object")
}

/// The processors whose registers the probe reads: objects differ by it, whatever machine makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Architecture(&'static str);

impl Architecture {
    const ALL: [Self; 2] = [Self("x86_64"), Self("aarch64")];

    fn object(self) -> PathBuf {
        folder().join(format!("{self}.o"))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
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
    fs::create_dir_all(folder())?;
    for architecture in Architecture::ALL {
        let object = build::object(architecture, &toolchain)?;
        let record = record::Record::of(&object, &toolchain)?;
        let path = architecture.object();
        fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
        record.write(architecture)?;
        println!("{}: {} bytes, by {toolchain}", path.display(), object.len());
    }
    Ok(ExitCode::SUCCESS)
}
