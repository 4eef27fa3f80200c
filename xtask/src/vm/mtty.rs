//! The kernel's sample mdev driver `mtty`, which makes mediated devices without hardware.

use super::cache::Cache;
use super::kernel::Kernel;
use super::modules::{self, Modules};
use super::{apt, debian};
use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the kernel's source has the driver.
const SOURCE: &str = "samples/vfio-mdev/mtty.c";

/// `mtty.ko` for `kernel`: the one among its modules, the cached one, or one that is built now.
pub fn find_or_build(cache: &Cache, kernel: &Kernel) -> Result<Vec<u8>> {
    if let Some(file) = Modules::list(&kernel.modules)?.file("mtty") {
        return modules::read(file);
    }
    let name = format!("mtty/{}", identity(kernel)?);
    let object = cache.folder(&name).join("mtty.ko");
    if object.is_file() {
        return modules::read(&object);
    }
    eprintln!("vm: building mtty.ko for {}", kernel.release);
    let folder = apt::resolve(&cache.folder("apt"), |apt| cache.create(&name, |folder| build(apt, kernel, folder)));
    let folder = folder
        .with_context(|| format!("mtty.ko cannot be built for {}; give one with `--mtty FILE`", kernel.release))?;
    modules::read(&folder.join("mtty.ko"))
}

fn build(apt: &apt::Apt, kernel: &Kernel, folder: &Path) -> Result<()> {
    let scratch = folder.join("build");
    let module = scratch.join("mtty");
    fs::create_dir_all(&module)?;
    let headers = debian::headers(apt, &kernel.release, &scratch)?;
    fs::write(module.join("mtty.c"), debian::source(apt, &kernel.release, SOURCE, &scratch)?)?;
    fs::write(module.join("Makefile"), "obj-m := mtty.o\n")?;
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", module.display())).arg("modules");
    // Debian's makefile asks for the very version that built the kernel; it is the default one there.
    make.arg("CC=gcc");
    process::output(&mut make)?;
    fs::rename(module.join("mtty.ko"), folder.join("mtty.ko")).context("make left no mtty.ko")?;
    // Some 200 MB of headers and source, of no use any more.
    Ok(fs::remove_dir_all(&scratch)?)
}

/// A name for the exact kernel: its release alone stays the same over rebuilds that change symbol versions.
fn identity(kernel: &Kernel) -> Result<String> {
    let size = fs::metadata(&kernel.image).with_context(|| format!("cannot read {}", kernel.image.display()))?.len();
    Ok(format!("{}-{size}", kernel.release))
}
