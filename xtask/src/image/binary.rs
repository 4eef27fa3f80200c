//! The program of the image: static, stripped, and the same on every machine that has the same compiler.

use crate::{process, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The profile in the workspace's `Cargo.toml`.
const PROFILE: &str = "dist";

/// The target: named, so that the flags for it are not those of build scripts and procedural macros.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds it and says where it is.
pub(super) fn build() -> Result<PathBuf> {
    eprintln!("building the static vfiod; the first time this takes some minutes");
    let folder = workspace::target()?;
    build_at(&workspace::root(), &folder)?;
    built()
}

/// Where [`build`] leaves it.
pub(super) fn built() -> Result<PathBuf> {
    Ok(program_in(&workspace::target()?))
}

fn program_in(folder: &Path) -> PathBuf {
    folder.join(target()).join(PROFILE).join("vfiod")
}

/// Builds it once more from a copy of the sources in another folder, with nothing that was built before.
pub(super) fn build_elsewhere() -> Result<PathBuf> {
    let scratch = workspace::target()?.join("elsewhere");
    drop(fs::remove_dir_all(&scratch));
    let copy = scratch.join("a/copy/of/the/sources");
    fs::create_dir_all(&copy).with_context(|| format!("cannot create {}", copy.display()))?;
    let root = workspace::root();
    let listed = process::output(
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&root),
    )?;
    for name in String::from_utf8_lossy(&listed).split('\0').filter(|name| !name.is_empty()) {
        let (from, into) = (root.join(name), copy.join(name));
        if !from.is_file() {
            continue;
        }
        if let Some(folder) = into.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&from, &into).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let folder = scratch.join("built");
    build_at(&copy, &folder)?;
    Ok(program_in(&folder))
}

fn build_at(root: &Path, folder: &Path) -> Result<()> {
    let mut cargo = workspace::cargo();
    // What the user's shell or an outer cargo sets for ordinary builds must not change this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_needed = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&name.as_str());
        if !is_needed && ["CARGO", "RUST"].iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root).args(["build", "--quiet", "--locked", "--package", "vfiod", "--bin", "vfiod"]);
    cargo.args(["--profile", PROFILE, "--target", &target(), "--target-dir"]).arg(folder);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(root, folder)?).stdin(Stdio::null());
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the static vfiod does not build; the compiler's messages are above");
    Ok(())
}

/// The compiler's flags, as cargo takes them: with a separator that no flag contains.
fn flags(root: &Path, folder: &Path) -> Result<OsString> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("no CARGO_HOME")?;
    // Paths get into the messages of panics. The later flag wins where two fit.
    let remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push(format!("={to}"));
        flag
    };
    let flags = [
        "-Ctarget-feature=+crt-static".into(),
        remap(&cargo_home, "/cargo"),
        remap(root, "/vfiod"),
        remap(folder, "/vfiod/target"),
    ];
    Ok(flags.join(&OsString::from("\x1f")))
}

/// The program header that names a dynamic linker (`elf.h`, `PT_INTERP`).
const INTERPRETER: u32 = 3;

/// Sees that a 64-bit ELF program needs no dynamic linker, which the image does not have.
///
/// # Errors
/// When it needs one, or is no such program.
pub(super) fn check_static(program: &[u8]) -> Result<()> {
    let word = |at: usize, size: usize| -> Result<u64> {
        let bytes = program.get(at..at + size).context("it is cut short")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit little-endian ELF program");
    // `e_phoff`, `e_phentsize` and `e_phnum` of `Elf64_Ehdr`; `p_type` begins each `Elf64_Phdr`.
    let (first, size, count) = (usize::try_from(word(32, 8)?)?, usize::try_from(word(54, 2)?)?, word(56, 2)?);
    for index in 0..usize::try_from(count)? {
        if word(first + index * size, 4)? == u64::from(INTERPRETER) {
            bail!("it is linked dynamically, and the image has no libraries");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_libraries_is_told_from_one_that_does_not() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check_static(&this).unwrap_err().to_string().contains("dynamically"));
        let mut none = vec![0; 64];
        none[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(check_static(&none).is_ok(), "a program without headers needs nobody");
        assert!(check_static(b"#!/bin/sh").is_err());
        assert!(check_static(&none[..40]).is_err());
    }

    #[test]
    fn no_path_of_this_machine_is_left_as_it_is() {
        let flags = flags(Path::new("/home/me/vfiod"), Path::new("/home/me/vfiod/target")).unwrap();
        let flags = flags.into_string().unwrap();
        assert!(flags.ends_with("--remap-path-prefix=/home/me/vfiod/target=/vfiod/target"), "{flags}");
        assert!(flags.contains("/home/me/vfiod=/vfiod\x1f"));
    }
}
