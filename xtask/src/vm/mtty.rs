//! The kernel's sample mdev driver `mtty`, which makes mediated devices without hardware.

use super::apt::Apt;
use super::archive::Archive;
use super::buildroot::BuildRoot;
use super::cache::Cache;
use super::debian;
use super::kernel::Kernel;
use super::modules::{self, Modules};
use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the kernel's source has the driver.
const SOURCE: &str = "samples/vfio-mdev/mtty.c";

/// `mtty.ko` for `kernel`: the one among its modules, the cached one, or one that is built now.
pub fn find_or_build(cache: &Cache, archive: &Archive, kernel: &Kernel) -> Result<Vec<u8>> {
    if let Some(file) = Modules::of(kernel)?.file("mtty") {
        return modules::read(file);
    }
    let name = format!("mtty/{}", kernel.identity()?);
    let object = cache.folder(&name).join("mtty.ko");
    if object.is_file() {
        return modules::read(&object);
    }
    eprintln!("vm: building mtty.ko for {}", kernel.release);
    let folder = archive.ask(|apt| cache.create(&name, |folder| build(apt, kernel, folder)));
    let folder = folder.with_context(|| {
        let release = &kernel.release;
        format!(
            "mtty.ko cannot be built for {release}; give one with `--mtty FILE`, or a newer kernel with `--refresh`"
        )
    })?;
    modules::read(&folder.join("mtty.ko"))
}

fn build(apt: &Apt, kernel: &Kernel, folder: &Path) -> Result<()> {
    let scratch = folder.join("build");
    let module = match debian::compiler(apt, &kernel.release)? == own_compiler()? {
        true => build_here(apt, &kernel.release, &scratch)?,
        false => build_there(apt, &kernel.release, &scratch)?,
    };
    fs::rename(module.join("mtty.ko"), folder.join("mtty.ko")).context("make left no mtty.ko")?;
    // Some hundred megabytes of headers, source and tools, of no use any more.
    Ok(fs::remove_dir_all(&scratch)?)
}

/// With this machine's compiler, which is the one that built the kernel.
fn build_here(apt: &Apt, release: &str, scratch: &Path) -> Result<PathBuf> {
    let module = scratch.join("mtty");
    prepare(apt, release, scratch, &module)?;
    let headers = debian::headers(apt, release, scratch)?;
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", module.display())).arg("modules");
    // Debian's makefile asks for its compiler by a name with a version; it is the default one here.
    make.arg("CC=gcc");
    process::output(&mut make)?;
    Ok(module)
}

/// With the compiler and the C library of the kernel's own release: one that is older knows not all of the flags that the
/// kernel's makefiles ask for, and the tools in the headers' packages want that C library.
fn build_there(apt: &Apt, release: &str, scratch: &Path) -> Result<PathBuf> {
    let root = BuildRoot::unpack(apt, &[format!("linux-headers-{release}")], &scratch.join("root"))?;
    let module = root.path().join("mtty");
    prepare(apt, release, scratch, &module)?;
    root.make(&["-C", &format!("/usr/src/linux-headers-{release}"), "M=/mtty", "modules"])?;
    Ok(module)
}

/// Puts the driver's source and a makefile into `module`.
fn prepare(apt: &Apt, release: &str, scratch: &Path, module: &Path) -> Result<()> {
    fs::create_dir_all(module)?;
    fs::write(module.join("mtty.c"), debian::source(apt, release, scratch)?.read(SOURCE)?)?;
    Ok(fs::write(module.join("Makefile"), "obj-m := mtty.o\n")?)
}

/// The version of this machine's gcc, such as `12`.
fn own_compiler() -> Result<String> {
    let text = process::text(Command::new("gcc").arg("-dumpversion"))?;
    Ok(text.trim().split('.').next().unwrap_or_default().to_owned())
}
