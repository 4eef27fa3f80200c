//! Loading the modules that `cargo xtask vm` put into the guest, in the order that it found.

use super::report::Skip;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Loads them all.
pub fn load() -> Result<()> {
    let order = fs::read_to_string("/modules/order").context("the guest was made without modules")?;
    for name in order.lines().filter(|name| !Path::new("/sys/module").join(name).join("initstate").exists()) {
        run("insmod", &[&format!("/modules/{name}.ko")])?;
    }
    match Path::new("/dev/vfio/vfio").exists() {
        true => Ok(()),
        false => bail!("the modules are loaded and /dev/vfio/vfio is missing"),
    }
}

/// Unloads them all, the last one first. What others of the kernel need stays.
pub fn unload() -> Result<()> {
    let order = fs::read_to_string("/modules/order").context("the guest was made without modules")?;
    for name in order.lines().rev().filter(|name| *name != "irqbypass") {
        run("rmmod", &[name])?;
    }
    Ok(())
}

/// Whether the guest has the mdev driver; the reason is `cargo xtask vm`'s.
pub fn need_mtty() -> Result<()> {
    match fs::read_to_string("/modules/mtty.missing") {
        Ok(reason) => Err(Skip(reason.trim().to_owned()).into()),
        Err(_) => Ok(()),
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
    }
}
