//! Checking the object that is in the repository.

use super::{build, object_path, record, toolchain};
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
    let recorded = record::Record::read()?;
    let path = object_path();
    let object = fs::read(&path).with_context(|| format!("cannot read {}; run `cargo xtask ebpf`", path.display()))?;
    outcome.add("the object is of these sources", same(&record::sources()?, &recorded.sources));
    outcome.add("the object is the recorded one", same(&record::hash(&object)?, &recorded.object));

    let toolchain = toolchain::find(choice)?;
    let fresh = build::object(&toolchain)?;
    if toolchain.to_string() == recorded.toolchain {
        outcome.add("the recorded toolchain makes it byte for byte", same(&record::hash(&fresh)?, &recorded.object));
    } else {
        eprintln!("ebpf: {toolchain} is not what made the object ({}), so bytes may differ", recorded.toolchain);
    }
    outcome.add("the running kernel's verifier accepts it", verifies(&path)?);
    if fresh != object {
        let place = workspace::target()?.join("ebpf/fresh.o");
        fs::write(&place, &fresh)?;
        outcome.add("the running kernel's verifier accepts a fresh one", verifies(&place)?);
    }
    Ok(outcome)
}

/// Sees that the object is the recorded one, made of the sources that are here. Needs no toolchain.
///
/// # Errors
/// When it is not; the message says how to make it anew.
pub fn is_of_its_sources() -> Result<()> {
    let recorded = record::Record::read()?;
    let path = object_path();
    let object = fs::read(&path).with_context(|| format!("cannot read {}; run `cargo xtask ebpf`", path.display()))?;
    let checks = [same(&record::sources()?, &recorded.sources), same(&record::hash(&object)?, &recorded.object)];
    match checks.into_iter().find_map(Result::err) {
        Some(why) => bail!("{} is not what its sources make ({why}); run `cargo xtask ebpf`", path.display()),
        None => Ok(()),
    }
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
