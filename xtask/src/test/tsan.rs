//! ThreadSanitizer on the lock-free core, with real threads, and with the crates that loom replaces by models.
//!
//! Rust's library has to be instrumented, too, or every `Arc` would be reported, whose fences ThreadSanitizer does not
//! follow: so it is built from its sources, by the compiler that the kernel probe is built with anyway. The sanitizer's
//! runtime and the linker come with rustup's toolchain.

use super::{steps::counted, tally::Tally};
use crate::{
    ebpf::{Choice, Compiler},
    process,
    vm::Unavailable,
    workspace,
};
use anyhow::{Context, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The tests that are run: all that threads of the allocator do together.
const TESTS: &str = "allocator::tests";
/// The program with a race on purpose, and what must be said of it.
const RACE: &str = "race";
const REPORT: &str = "WARNING: ThreadSanitizer: data race";

/// What is needed besides a compiler with the sources of its library.
#[derive(Debug)]
struct Parts {
    /// The target, which is this machine.
    target: String,
    /// The sanitizer's runtime.
    runtime: PathBuf,
    /// The folder with rustup's linker, where it is there.
    linker: Option<PathBuf>,
}

/// Runs the tests, then the race.
///
/// # Errors
/// [`Unavailable`], naming what to install; or when something does not build.
pub(super) fn run() -> Result<Tally> {
    let parts = Parts::find()?;
    let compiler = Compiler::find(Choice::Auto)?;
    let cargo = |words: &[&str]| -> Result<Command> {
        let mut cargo = compiler.cargo();
        cargo.current_dir(workspace::root()).args(words).args(["--quiet", "--locked", "-Zbuild-std"]);
        cargo.args(["--package", "vfiod-core", "--target", &parts.target, "--target-dir"]);
        cargo.arg(workspace::target()?.join("tsan"));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", parts.flags().join("\x1f")).env("CARGO_INCREMENTAL", "0");
        Ok(cargo)
    };
    let mut tests = cargo(&["test", "--lib"])?;
    let mut tally = counted(tests.arg(TESTS))?;
    anyhow::ensure!(
        tally != Tally::default(),
        "no test has {TESTS:?} in its name: the step would pass without looking"
    );
    let race = cargo(&["run", "--example", RACE])?.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&race.stderr);
    if said.contains(REPORT) && !race.status.success() {
        println!("a race on purpose is reported: ok");
        tally += Tally::passed(1);
    } else {
        println!(
            "a race on purpose is not reported ({}): ThreadSanitizer does not look\n{}",
            race.status,
            said.trim_end()
        );
        tally += Tally::failed(1);
    }
    Ok(tally)
}

impl Parts {
    fn find() -> Result<Self> {
        let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let text = process::text(rustc().arg("-vV"))?;
        let target =
            text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?.to_owned();
        let sysroot = process::text(rustc().args(["--print", "sysroot"]))?;
        let folder = Path::new(sysroot.trim()).join("lib/rustlib").join(&target);
        let runtime = fs::read_dir(folder.join("lib")).ok().and_then(|mut files| {
            files.find_map(|file| file.ok().filter(|file| is_runtime(&file.file_name().to_string_lossy())))
        });
        let Some(runtime) = runtime else {
            return Err(Unavailable(format!(
                "the toolchain in {} brings no runtime of ThreadSanitizer (librustc-*_rt.tsan.a); those that rustup installs for \
                 x86_64 and aarch64 do: https://rustup.rs",
                sysroot.trim()
            ))
            .into());
        };
        let linker = Some(folder.join("bin/gcc-ld")).filter(|folder| folder.join("ld.lld").is_file());
        Ok(Self { target, runtime: runtime.path(), linker })
    }

    /// The compiler's flags. The runtime is taken whole, since it takes the place of functions of the C library.
    fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> =
            ["-Zsanitizer=thread", "-Zexternal-clangrt", "-Cdebuginfo=line-tables-only"].map(str::to_owned).into();
        if let Some(linker) = &self.linker {
            flags.extend([format!("-Clink-arg=-B{}", linker.display()), "-Clink-arg=-fuse-ld=lld".to_owned()]);
        }
        let runtime = self.runtime.display().to_string();
        let last = ["-Wl,--whole-archive", &runtime, "-Wl,--no-whole-archive", "-Wl,--export-dynamic", "-lm", "-lc"];
        flags.extend(last.map(|flag| format!("-Clink-arg={flag}")));
        flags
    }
}

fn is_runtime(name: &str) -> bool {
    name.starts_with("librustc-") && name.ends_with("_rt.tsan.a")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_of_threads_is_told_from_those_of_memory_and_real_time() {
        let files =
            ["librustc-stable_rt.asan.a", "librustc-stable_rt.rtsan.a", "librustc-stable_rt.tsan.a", "libtsan.a"];
        assert_eq!(files.map(is_runtime), [false, false, true, false]);
    }
}
