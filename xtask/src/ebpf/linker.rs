//! bpf-linker: it links LLVM's intermediate code, so it must know at least the LLVM of the compiler.

use crate::{
    process::{self, find},
    vm::{Unavailable, apt::Apt, cache::Cache},
    workspace,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The version that is built where the machine has none.
const VERSION: &str = "0.13.0";

/// The linker.
#[derive(Debug)]
pub struct Linker {
    /// The program.
    pub program: PathBuf,
    /// What it says of itself.
    pub version: String,
}

/// The linker for this LLVM: the cached one, or one that is built now against the distribution's LLVM, or the machine's
/// own.
///
/// # Errors
/// [`Unavailable`], naming what to install.
pub fn ensure(llvm: u32) -> Result<Linker> {
    let name = format!("ebpf/bpf-linker-{VERSION}-llvm-{llvm}");
    let cached = Cache::place(&name)?.join("bin/bpf-linker");
    if let Ok(linker) = linker(&cached) {
        return Ok(linker);
    }
    let built = llvm_folder(llvm).and_then(|prefix| {
        let cache = Cache::open()?;
        if cached.is_file() {
            return Ok(cached.clone()); // by another run, while this one waited
        }
        eprintln!("ebpf: building bpf-linker for LLVM {llvm}; that takes a minute or two");
        cache.create(&name, |folder| install(&prefix, llvm, folder))
    });
    match built {
        Ok(_) => linker(&cached),
        // It may know another LLVM; then the build says so.
        Err(error) => match find("bpf-linker") {
            Some(own) => linker(&own),
            None => Err(error),
        },
    }
}

/// Where LLVM's libraries are, installed now where they are missing and may be.
fn llvm_folder(llvm: u32) -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let whole = || prefix.join("bin/llvm-config").is_file() && prefix.join("lib/libPolly.a").is_file();
    if whole() {
        return Ok(prefix);
    }
    let packages = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    let packages = packages.each_ref().map(String::as_str);
    let by_hand = format!(
        "no LLVM {llvm} to build bpf-linker with; get it with `apt-get install {}`, or put a bpf-linker for it into PATH",
        packages.join(" ")
    );
    let Some(apt) = Apt::system().filter(|_| rustix::process::geteuid().is_root()) else {
        return Err(Unavailable(by_hand).into());
    };
    eprintln!("ebpf: installing {}", packages.join(" "));
    apt.install(&packages).map_err(|error| Unavailable(format!("{by_hand} (tried, and {error:#})")))?;
    match whole() {
        true => Ok(prefix),
        false => Err(Unavailable(format!("{by_hand} (installed, and {} is not whole)", prefix.display())).into()),
    }
}

fn install(prefix: &Path, llvm: u32, folder: &Path) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--quiet", "--no-track"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"]).arg(folder);
    cargo.env("LLVM_PREFIX", prefix).env("CARGO_TARGET_DIR", folder.join("build"));
    process::output(&mut cargo).context("bpf-linker does not build")?;
    Ok(std::fs::remove_dir_all(folder.join("build"))?)
}

fn linker(program: &Path) -> Result<Linker> {
    let text = process::text(Command::new(program).arg("--version"))?;
    let version = text.lines().next().unwrap_or_default().trim().to_owned();
    Ok(Linker { program: program.to_owned(), version })
}
