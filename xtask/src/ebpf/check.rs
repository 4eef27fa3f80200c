//! Checking the object that is in the repository.

use super::{Architecture, build, record, toolchain};
use crate::{process, vm::Unavailable, workspace};
use anyhow::{Context, Result, bail};
use std::{fs, path::Path};

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

/// The exit code of `verify-probe` where this process may not load programs.
const FORBIDDEN: i32 = 77;

/// Makes the checks and prints a line for each.
///
/// # Errors
/// [`Unavailable`] where there is no toolchain, or this machine lets nobody load programs.
pub fn check(choice: toolchain::Choice) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for architecture in Architecture::ALL {
        outcome
            .add(&format!("{architecture}: the object is the recorded one, of these sources"), recorded(architecture)?);
    }
    let toolchain = toolchain::find(choice)?;
    for architecture in Architecture::ALL {
        let object = read(architecture)?;
        let fresh = build::object(architecture, &toolchain)?;
        let made_by = record::Record::read(architecture)?.toolchain;
        if toolchain.to_string() == made_by {
            let same = same(&record::hash(&fresh)?, &record::hash(&object)?);
            outcome.add(&format!("{architecture}: the recorded toolchain makes it byte for byte"), same);
        } else {
            eprintln!("ebpf: {toolchain} is not what made the object ({made_by}), so bytes may differ");
        }
        // A verifier is of no processor. What differs is how many registers there are to read, and x86-64 has the fewest.
        let verified = verifies(&architecture.object())?;
        outcome.add(&format!("{architecture}: the running kernel's verifier accepts it"), verified);
        if fresh != object {
            let place = workspace::target()?.join("ebpf/fresh.o");
            fs::write(&place, &fresh)?;
            outcome
                .add(&format!("{architecture}: the running kernel's verifier accepts a fresh one"), verifies(&place)?);
        }
    }
    Ok(outcome)
}

/// Sees that each object is the recorded one, made of the sources that are here. Needs no toolchain.
///
/// # Errors
/// When one is not; the message says how to make it anew.
pub fn is_of_its_sources() -> Result<()> {
    for architecture in Architecture::ALL {
        if let Err(why) = recorded(architecture)? {
            bail!("{} is not what its sources make: {why}", architecture.object().display());
        }
    }
    Ok(())
}

fn read(architecture: Architecture) -> Result<Vec<u8>> {
    let path = architecture.object();
    fs::read(&path).with_context(|| format!("cannot read {}; run `cargo xtask ebpf`", path.display()))
}

fn recorded(architecture: Architecture) -> Result<Result<(), String>> {
    let recorded = record::Record::read(architecture)?;
    let sources = same(&record::sources()?, &recorded.sources);
    let object = record::hash(&read(architecture)?)?;
    Ok(sources.and_then(|()| same(&object, &recorded.object)))
}

impl Outcome {
    fn add(&mut self, sentence: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {sentence}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAIL {sentence}: {why}");
            }
        }
    }
}

fn same(now: &str, recorded: &str) -> Result<(), String> {
    if now == recorded {
        return Ok(());
    }
    Err(format!("{now} is not {recorded}; run `cargo xtask ebpf` and commit agent-ebpf/object"))
}

/// Has the kernel verify an object, by the program `verify-probe` of package vfiod.
fn verifies(object: &Path) -> Result<Result<(), String>> {
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--package", "vfiod", "--example", "verify-probe"]);
    if !build.status().context("cannot run cargo")?.success() {
        bail!("verify-probe does not build");
    }
    let mut verify = std::process::Command::new(workspace::target()?.join("debug/examples/verify-probe"));
    verify.arg(object);
    let output = verify.output().with_context(|| format!("cannot run {}", process::shown(&verify)))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(Ok(())),
        Some(FORBIDDEN) => {
            Err(Unavailable(format!("this machine lets nobody load eBPF programs ({said}); run it as root")).into())
        }
        _ => Ok(Err(said)),
    }
}
