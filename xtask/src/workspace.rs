//! The workspace: where it is, and building the programs in it.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    // Cargo sets the variable when it runs the task; a task binary started by hand knows where it was built.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    xtask.parent().map(Path::to_path_buf).unwrap_or(xtask)
}

/// Cargo, the one that runs this task.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The profile that programs are built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Cargo's `dev` profile: quick to build
    Debug,
    /// Cargo's `release` profile: what is shipped
    Release,
    /// The workspace's `measured` profile: as fast as `release`, and built sooner
    Measured,
}

/// Builds the named binaries, each given as (package, binary), and says where each one is.
pub fn build(binaries: &[(&str, &str)], profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    build_with(&["--quiet"], binaries, profile)
}

/// Like [`build`], with cargo's own report of its progress.
pub fn build_aloud(binaries: &[(&str, &str)], profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    build_with(&[], binaries, profile)
}

fn build_with(options: &[&str], binaries: &[(&str, &str)], profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]).args(options);
    match profile {
        Profile::Debug => {}
        Profile::Release => drop(command.arg("--release")),
        Profile::Measured => drop(command.args(["--profile", "measured"])),
    }
    for (package, binary) in binaries {
        command.args(["--package", package, "--bin", binary]);
    }
    let built = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !built.status.success() {
        bail!("the programs do not build ({}); the compiler's messages are above", built.status);
    }
    let mut found = BTreeMap::new();
    for line in built.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value =
            serde_json::from_slice(line).context("cargo wrote something that is no JSON")?;
        if let (Some(name), Some(file)) = (text(&message, "/target/name"), text(&message, "/executable")) {
            found.insert(name.to_owned(), PathBuf::from(file));
        }
    }
    match binaries.iter().find(|(_, binary)| !found.contains_key(*binary)) {
        Some((package, binary)) => bail!("cargo built {package} and named no executable `{binary}`"),
        None => Ok(found),
    }
}

/// The folder for what tasks write: `target/`, or where the user has put it.
pub fn target() -> Result<PathBuf> {
    let mut command = cargo();
    let metadata = crate::process::output(command.args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).context("cargo metadata is no JSON")?;
    text(&metadata, "/target_directory").map(PathBuf::from).context("cargo metadata names no target directory")
}

fn text<'a>(value: &'a serde_json::Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}
