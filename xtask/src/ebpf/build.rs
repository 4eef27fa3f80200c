//! Building the object.

use super::{Architecture, toolchain::Toolchain};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

const TARGET: &str = "bpfel-unknown-none";
/// The program in `agent-ebpf/Cargo.toml`.
const PROGRAM: &str = "vfiod-probe";

/// Builds the object for one architecture and returns it.
pub fn object(architecture: Architecture, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let root = workspace::root();
    let target = workspace::target()?.join("ebpf");
    let mut cargo = toolchain.cargo();
    cargo.current_dir(root.join("agent-ebpf")).args(["build", "--release", "--locked", "--quiet"]);
    cargo.args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"]).arg(&target);
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&root, architecture, toolchain))
        .env("PATH", path(&toolchain.linker.program)?);
    let status =
        cargo.stdin(Stdio::null()).status().with_context(|| format!("cannot run {}", toolchain.cargo.display()))?;
    if !status.success() {
        bail!("the probe does not compile for {architecture} with {toolchain}; the compiler's messages are above");
    }
    let object = target.join(TARGET).join("release").join(PROGRAM);
    fs::read(&object).with_context(|| format!("cannot read {}", object.display()))
}

/// The compiler's flags, as cargo takes them: with a separator that no flag contains.
fn flags(root: &Path, architecture: Architecture, toolchain: &Toolchain) -> OsString {
    // Paths that get into the object (in the messages of panics) must be the same on every machine.
    let remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push(format!("={to}"));
        flag
    };
    let flags = [
        format!("--cfg=bpf_target_arch=\"{architecture}\"").into(),
        remap(root, "/vfiod"),
        remap(&cargo_home(), "/cargo"),
        remap(&toolchain.sources, "/rust"),
    ];
    flags.join(&OsString::from("\x1f"))
}

fn cargo_home() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(|| "/".into())
}

/// `PATH` with the linker's folder before all others: the compiler looks for it there.
fn path(linker: &Path) -> Result<OsString> {
    let own = linker.parent().map(Path::to_path_buf);
    let rest = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&rest)))?)
}
