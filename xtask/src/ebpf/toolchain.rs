//! A compiler for the probe. The target `bpfel-unknown-none` comes without a library, so `core` is built with the probe,
//! from the compiler's own sources: a compiler without them is of no use.

use super::linker::{self, Linker};
use crate::{
    process,
    vm::{Unavailable, apt::Apt},
};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Which compiler to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// The distribution's where it will do, else upstream's nightly, else the distribution's installed now
    #[default]
    Auto,
    /// The distribution's (on Debian: rustc-web, cargo-web, rust-web-src)
    Distribution,
    /// The newest of rustup's nightly toolchains that has the component rust-src
    Nightly,
}

/// The oldest compiler that takes aya-ebpf.
const OLDEST: (u32, u32) = (1, 87);
/// Debian's newest compiler, which it keeps for building browsers.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler, its cargo and its linker.
#[derive(Debug)]
pub struct Toolchain {
    pub rustc: PathBuf,
    pub cargo: PathBuf,
    /// Where the sources of its library are.
    pub sources: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
    /// The version of its LLVM.
    pub llvm: String,
    pub linker: Linker,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, LLVM {}, {}", self.version, self.llvm, self.linker.version)
    }
}

/// A compiler that brings the sources of its library.
#[derive(Debug)]
pub struct Compiler {
    rustc: PathBuf,
    cargo: PathBuf,
    sources: PathBuf,
    version: String,
    llvm: String,
}

/// Finds a toolchain, or installs one where the user is root and apt is there.
///
/// # Errors
/// [`Unavailable`], naming what to install.
pub fn find(choice: Choice) -> Result<Toolchain> {
    let compiler = Compiler::find(choice)?;
    let Some(major) = compiler.llvm.split('.').next().and_then(|major| major.parse().ok()) else {
        bail!("{} does not say which LLVM it has", compiler.rustc.display());
    };
    let linker = linker::ensure(major)?;
    let Compiler { rustc, cargo, sources, version, llvm } = compiler;
    Ok(Toolchain { rustc, cargo, sources, version, llvm, linker })
}

impl Compiler {
    /// Finds one, or installs one where the user is root and apt is there.
    ///
    /// # Errors
    /// [`Unavailable`], naming what to install.
    pub fn find(choice: Choice) -> Result<Self> {
        match select(choice, distribution, nightly) {
            Some(compiler) => Ok(compiler),
            None if choice == Choice::Nightly => Err(Unavailable(by_hand("")).into()),
            None => install(),
        }
    }

    /// Its cargo, told to use it.
    pub fn cargo(&self) -> Command {
        cargo(&self.cargo, &self.rustc)
    }
}

impl Toolchain {
    /// Its cargo, told to use its compiler.
    pub fn cargo(&self) -> Command {
        cargo(&self.cargo, &self.rustc)
    }
}

fn cargo(cargo: &Path, rustc: &Path) -> Command {
    let mut cargo = Command::new(cargo);
    // What the user's shell or an outer cargo sets for ordinary builds must not change this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_ours = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name.as_str());
        if !is_ours && ["CARGO", "RUST"].iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    // `-Z` is taken by a stable compiler, too.
    cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    cargo
}

/// What there is of what was asked for.
fn select<T>(
    choice: Choice,
    distribution: impl FnOnce() -> Option<T>,
    nightly: impl FnOnce() -> Option<T>,
) -> Option<T> {
    match choice {
        Choice::Distribution => distribution(),
        Choice::Nightly => nightly(),
        Choice::Auto => distribution().or_else(nightly),
    }
}

fn by_hand(tried: &str) -> String {
    format!(
        "no compiler that brings the sources of its library; get one with `apt-get install {}` or with `rustup toolchain \
         install nightly --component rust-src`{tried}",
        PACKAGES.join(" ")
    )
}

fn install() -> Result<Compiler> {
    let Some(apt) = Apt::system().filter(|_| rustix::process::geteuid().is_root()) else {
        return Err(Unavailable(by_hand("")).into());
    };
    eprintln!("ebpf: installing {}", PACKAGES.join(" "));
    if let Err(error) = apt.install(&PACKAGES) {
        return Err(Unavailable(by_hand(&format!(" (tried, and {error:#})"))).into());
    }
    distribution().ok_or_else(|| Unavailable(by_hand(" (the former is installed and will not do)")).into())
}

/// The compiler of the system's packages.
fn distribution() -> Option<Compiler> {
    compiler(Path::new("/usr/bin"))
}

/// The newest of rustup's nightlies that will do.
fn nightly() -> Option<Compiler> {
    let list = process::text(Command::new("rustup").args(["toolchain", "list", "--verbose"])).ok()?;
    nightlies(&list).iter().filter_map(|folder| compiler(folder)).max_by_key(|compiler| age(&compiler.version))
}

/// The folders with the programs of nightly toolchains, from `rustup toolchain list --verbose`.
fn nightlies(list: &str) -> Vec<PathBuf> {
    let folder = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    let lines = list.lines().filter(|line| line.starts_with("nightly"));
    lines.filter_map(folder).map(|folder| folder.join("bin")).collect()
}

/// The numbers and the day in `rustc 1.99.0-nightly (3f1a2b4c5 2026-09-01)`, which sort by age.
fn age(version: &str) -> Option<(u32, u32, String)> {
    let mut numbers = version.split_whitespace().nth(1)?.split(['.', '-']).map_while(|number| number.parse().ok());
    let day = version.rsplit_once(' ')?.1.trim_end_matches(')');
    Some((numbers.next()?, numbers.next()?, day.to_owned()))
}

/// The compiler in this folder, if it will do.
fn compiler(folder: &Path) -> Option<Compiler> {
    let (rustc, cargo) = (folder.join("rustc"), folder.join("cargo"));
    if !cargo.is_file() {
        return None;
    }
    let text = process::text(Command::new(&rustc).arg("-vV")).ok()?;
    let (version, llvm) = versions(&text)?;
    let sysroot = process::text(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    sources.join("library/core").is_dir().then_some(Compiler { rustc, cargo, sources, version, llvm })
}

/// The first line and the version of LLVM, from `rustc -vV`; nothing for a compiler that is too old.
fn versions(text: &str) -> Option<(String, String)> {
    let version = text.lines().next()?;
    let mut numbers = version.split_whitespace().nth(1)?.split(['.', '-']);
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    if (number(numbers.next())?, number(numbers.next())?) < OLDEST {
        return None;
    }
    let llvm = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    Some((version.to_owned(), llvm.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_its_version_and_that_of_its_llvm() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\nrelease: 1.96.0\n\
                    LLVM version: 22.1.8\n";
        let (version, llvm) = versions(text).unwrap();
        assert!(version.starts_with("rustc 1.96.0 (ac68faa20"));
        assert_eq!(llvm, "22.1.8");
    }

    #[test]
    fn the_distribution_goes_before_nightly_unless_one_is_named() {
        let ask = |choice, distribution, nightly| select(choice, || distribution, || nightly);
        assert_eq!(ask(Choice::Auto, Some("distribution"), Some("nightly")), Some("distribution"));
        assert_eq!(ask(Choice::Auto, None, Some("nightly")), Some("nightly"));
        assert_eq!(ask(Choice::Nightly, Some("distribution"), Some("nightly")), Some("nightly"));
        assert_eq!(ask(Choice::Nightly, Some("distribution"), None), None);
        assert_eq!(ask(Choice::Distribution, None, Some("nightly")), None);
    }

    #[test]
    fn the_newest_nightly_is_taken_and_no_stable_toolchain() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default) /r/stable\n\
                    nightly-2026-01-01-x86_64-unknown-linux-gnu\t/r/old\nnightly-x86_64-unknown-linux-gnu /r/new\n";
        assert_eq!(nightlies(list), [PathBuf::from("/r/old/bin"), "/r/new/bin".into()]);
        let versions = [
            "rustc 1.99.0-nightly (3f1a2b4c5 2026-09-01)",
            "rustc 1.99.0-nightly (aaaaaaaaa 2026-09-12)",
            "rustc 1.100.0-nightly (0f1a2b4c5 2026-10-02)",
        ];
        let mut sorted = versions;
        sorted.sort_by_key(|version| age(version));
        assert_eq!(sorted, versions);
    }

    #[test]
    fn without_any_compiler_it_is_said_what_to_install() {
        let text = by_hand("");
        for part in ["apt-get install", "rustc-web", "cargo-web", "rust-web-src", "nightly --component rust-src"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_compiler_that_is_too_old_will_not_do() {
        assert_eq!(versions("rustc 1.63.0\nLLVM version: 14.0.6\n"), None);
        assert_eq!(versions(""), None);
    }
}
