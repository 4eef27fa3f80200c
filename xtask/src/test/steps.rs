//! The steps, one function each.

use super::tally::Tally;
use crate::{browser, ebpf, kubectl, libvirt, vm, workspace};
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// The package of the end-to-end tests.
const END_TO_END: &str = "vfiod-tests";

/// One step.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn() -> Result<Tally>,
}

/// All steps, quick ones first.
pub(super) const STEPS: &[Step] = &[
    Step { name: "format", about: "cargo fmt", run: format },
    Step { name: "lints", about: "clippy, warnings denied", run: lints },
    Step { name: "tests", about: "unit, property and end-to-end tests, examples in the documentation", run: tests },
    Step { name: "loom", about: "every interleaving of the lock-free core", run: loom },
    Step { name: "tsan", about: "the lock-free core on real threads, under ThreadSanitizer", run: super::tsan::run },
    Step {
        name: "instructions",
        about: "how long the hot paths are, counted by callgrind",
        run: super::instructions::run,
    },
    Step { name: "docs", about: "rustdoc, warnings denied", run: docs },
    Step { name: "ebpf", about: "the kernel probe's object: its sources, its bytes, the verifier", run: ebpf },
    Step { name: "image", about: "the container image, in a containerd of its own", run: super::image::run },
    Step { name: "vm", about: "a real kernel with real VFIO devices", run: vm },
];

/// The names of the steps, for the command line.
pub(super) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

fn format() -> Result<Tally> {
    passes(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<Tally> {
    passes(workspace::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

fn tests() -> Result<Tally> {
    // The end-to-end tests start the binary, which cargo does not build for another package's tests.
    let built = workspace::cargo().args(["build", "--quiet", "--package", "vfiod"]).status()?;
    if !built.success() {
        bail!("vfiod does not build");
    }
    let mut tally = Tally::default();
    if let Err(error) = libvirt::ensure() {
        println!("SKIPPED: domains are not compared with libvirt's schema: {error:#}");
        tally += Tally::skipped(1);
    }
    if let Err(error) = browser::ensure() {
        println!("SKIPPED: the page is not looked at in a browser: {error:#}");
        tally += Tally::skipped(1);
    }
    if let Err(error) = kubectl::ensure() {
        println!("SKIPPED: the manifests are not rendered: {error:#}");
        tally += Tally::skipped(1);
    }
    let options = ["--no-fail-fast", "--quiet"];
    tally += counted(workspace::cargo().args(["test", "--workspace", "--exclude", END_TO_END]).args(options))?;
    let mut end_to_end = workspace::cargo();
    end_to_end.args(["test", "--package", END_TO_END]).args(options);
    // They mostly wait: as many at once as there are processors would take minutes.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        end_to_end.env("RUST_TEST_THREADS", "8");
    }
    tally += counted(&mut end_to_end)?;
    Ok(tally)
}

fn loom() -> Result<Tally> {
    let target = workspace::target()?.join("loom");
    let mut command = workspace::cargo();
    command.args(["test", "--package", "vfiod-core", "--release", "--lib", "--quiet", "loom"]);
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target);
    let tally = counted(&mut command)?;
    if tally == Tally::default() {
        bail!("no test has `loom` in its name: the step would pass without looking");
    }
    Ok(tally)
}

fn docs() -> Result<Tally> {
    let mut command = workspace::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    passes(&mut command)
}

fn ebpf() -> Result<Tally> {
    let outcome = ebpf::check(Default::default())?;
    let mut tally = Tally::passed(outcome.passed);
    tally += Tally::failed(outcome.failed);
    Ok(tally)
}

fn vm() -> Result<Tally> {
    /// `cargo xtask vm` without a flag.
    #[derive(clap::Parser)]
    struct Plain {
        #[command(flatten)]
        args: vm::Args,
    }
    let report = vm::run(&Plain::parse_from(["vm"]).args)?;
    let mut tally = Tally::passed(report.ok);
    tally += Tally::failed(report.failed + usize::from(report.broken.is_some()));
    tally += Tally::skipped(report.skipped.len());
    Ok(tally)
}

/// Runs a command that is one check.
fn passes(command: &mut Command) -> Result<Tally> {
    let status = command.stdin(Stdio::null()).status().context("cannot run cargo")?;
    Ok(if status.success() { Tally::passed(1) } else { Tally::failed(1) })
}

/// Runs tests, shows what they print, and adds up their results. Skipping is for people: where the run must be whole,
/// tests that cannot run fail.
pub(super) fn counted(command: &mut Command) -> Result<Tally> {
    if std::env::var_os("CI").is_some() {
        command.env("VFIOD_NO_SKIP", "1");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut tally = Tally::default();
    let stdout = child.stdout.take().context("no output to read")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        match Tally::of_test_result(&line) {
            Some(result) => tally += result,
            None if line.trim().is_empty() || line.starts_with("running ") => continue,
            None => {}
        }
        println!("{line}");
    }
    let status = child.wait()?;
    if !status.success() && tally.is_good() {
        bail!(
            "cargo test failed though every test that ran passed: a package does not build, or a test binary crashed"
        );
    }
    Ok(tally)
}
