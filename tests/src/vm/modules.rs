//! Loading, and removing, the modules that `cargo xtask vm` put into the guest, in the order that it found.

use super::report::Skip;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Loads all that are not loaded.
pub fn load() -> Result<()> {
    let loaded = loaded()?;
    for name in order()?.iter().filter(|name| !loaded.contains(*name)) {
        run("insmod", &[&format!("/modules/{name}.ko")])?;
    }
    match Path::new("/dev/vfio/vfio").exists() {
        true => Ok(()),
        false => bail!("the modules are loaded and /dev/vfio/vfio is missing"),
    }
}

/// Removes all that are loaded, the last one first. Nothing may use them. What others of the kernel need stays.
pub fn unload() -> Result<()> {
    let loaded = loaded()?;
    let order = order()?;
    let removed = order.iter().rev().filter(|name| loaded.contains(*name) && *name != "irqbypass");
    removed.map(String::as_str).try_for_each(|name| run("rmmod", &[name]))
}

fn order() -> Result<Vec<String>> {
    let order = fs::read_to_string("/modules/order").context("the guest was made without modules")?;
    Ok(order.lines().map(str::to_owned).collect())
}

fn loaded() -> Result<Vec<String>> {
    let list = fs::read_to_string("/proc/modules").context("cannot read /proc/modules")?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Whether the guest has the mdev driver; the reason is `cargo xtask vm`'s.
pub fn need_mtty() -> Result<()> {
    match fs::read_to_string("/modules/mtty.missing") {
        Ok(reason) => Err(Skip(reason.trim().to_owned()).into()),
        Err(_) => Ok(()),
    }
}

/// Whether VFIO's modules can go at all: some kernels have them built in.
pub fn need_loadable() -> Result<()> {
    match order()?.iter().any(|name| name == "vfio") {
        true => Ok(()),
        false => Err(Skip("VFIO is built into this kernel, and does not go".into()).into()),
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
    }
}
