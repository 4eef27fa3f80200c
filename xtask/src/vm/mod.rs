//! `cargo xtask vm`: boots a real kernel in QEMU and checks vfiod there, on real `vfio-pci` devices.
//!
//! ```text
//! kernel   one of Debian's (6.1, 6.12, sid) through apt, or --kernel FILE and --modules; --kernel all: each in turn
//! mtty     the kernel's sample mdev driver, built against that kernel
//! initramfs  busybox, modules, vfiod, the checks (package vfiod-tests), the C programs of tests/vm
//! machine  QEMU with an emulated IOMMU and PCI devices; KVM where it truly works, else TCG
//! session  reads one line a check from the guest, relays its requests for hot-plug, ends in bounded time
//! ```

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub mod apt;
mod archive;
mod buildroot;
mod built_in;
pub mod cache;
mod choice;
mod debian;
mod guest;
mod initramfs;
mod iommufd;
mod kernel;
mod libraries;
mod machine;
mod matrix;
mod modules;
mod mtty;
mod qmp;
mod session;
pub mod tools;

use archive::Archive;
use choice::{Build, Choice};
use kernel::Kernel;
pub use session::Report;

/// The exit code for "this machine cannot run the checks", as automake's test drivers use it.
const SKIPPED: u8 = 77;

/// What to boot, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kernel to boot: Debian's 6.1, 6.12 or sid (fetched through apt, and kept), a small 6.1 with VFIO in the kernel
    /// itself (built from Debian's source, and kept), 6.12 with VFIO built once more for device nodes, all of them one after the other, or the image FILE of another one
    #[arg(long, value_name = "6.1|6.1-built-in|6.12|6.12-iommufd|sid|all|FILE", default_value = "6.1")]
    kernel: Choice,
    /// Folder of the modules of `--kernel FILE`, such as lib/modules/6.1.0-56-amd64
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// The sample mdev driver mtty.ko built for that kernel (default: found among the modules, or built)
    #[arg(long, value_name = "FILE")]
    mtty: Option<PathBuf>,
    /// How QEMU runs the guest's instructions
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    accel: Accel,
    /// Seconds that the guest may take; one that says nothing for five minutes is ended sooner
    /// (default: 600 under KVM, 1800 under TCG)
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Profile that the programs for the guest are built with
    #[arg(long, value_enum, default_value_t = crate::workspace::Profile::Debug)]
    profile: crate::workspace::Profile,
    /// Run only the scenarios (files of tests/src/vm/checks) whose name contains this (or one of several, parted by
    /// commas), and the first one
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Minutes that the scenario soak takes; it runs only where --only names it
    #[arg(long, value_name = "N", default_value_t = 2)]
    minutes: u64,
    /// Show the main job instead of checking it
    #[arg(long, conflicts_with = "only")]
    tour: bool,
    /// Fetch the kernel again although one is cached
    #[arg(long)]
    refresh: bool,
    /// Keep the initramfs, and print the command that boots it
    #[arg(long)]
    keep: bool,
}

impl Args {
    /// The arguments of the guest's program `vm-checks`, behind its port.
    fn task(&self) -> String {
        match &self.only {
            _ if self.tour && in_colour() => "tour colour".to_owned(),
            _ if self.tour => "tour".to_owned(),
            Some(only) => format!("only {only} minutes {}", self.minutes),
            None => String::new(),
        }
    }
}

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// KVM where a kernel truly boots with it, else TCG
    Auto,
    /// The processor's own virtualization
    Kvm,
    /// QEMU's translation, which works everywhere
    Tcg,
}

/// This machine cannot run the checks. The message says what is missing and how to get it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Runs the task for the command line: 0 all checks passed, 1 not, 77 this machine cannot run them (or some of the
/// kernels, where nothing failed on the others).
pub fn main(args: &Args) -> Result<ExitCode> {
    let outcome = match args.kernel {
        Choice::All => matrix::run(args),
        _ => run(args).map(|report| report.passed()),
    };
    match outcome {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => match error.downcast_ref::<Unavailable>() {
            Some(reason) => {
                eprintln!("skipped: {reason}");
                Ok(ExitCode::from(SKIPPED))
            }
            None => Err(error),
        },
    }
}

/// Whether stdout is a terminal whose user has not asked for no colour (<https://no-color.org>).
fn in_colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Shows the main job in a guest: `cargo xtask demo --vm`, with further options of `cargo xtask vm`. Ends as [`main`]
/// does.
///
/// # Errors
///
/// As [`run`].
pub fn tour(options: &[String]) -> Result<ExitCode> {
    #[derive(clap::Parser)]
    struct Plain {
        #[command(flatten)]
        args: Args,
    }
    let begin = ["cargo xtask vm", "--tour"].map(str::to_owned);
    main(&Plain::parse_from(begin.iter().chain(options)).args)
}

/// Boots the guest and runs the checks in it, printing a line for each.
///
/// # Errors
///
/// [`Unavailable`] (as the error's root) where this machine lacks what is needed and may not install it; anything else
/// is a failure to build or to boot. Checks that fail are no error: see [`Report::passed`].
pub fn run(args: &Args) -> Result<Report> {
    let begun = Instant::now();
    tools::ensure()?;
    let cache = cache::Cache::open()?;
    let (archive, kernel) = find(args, &cache)?;
    let mtty = match &args.mtty {
        Some(file) => Ok(modules::read(file).context("--mtty")?),
        None => mtty::find_or_build(&cache, &archive, &kernel),
    };
    // Other checkouts may fetch theirs while this one runs.
    drop(cache);
    if let Err(reason) = &mtty {
        eprintln!("vm: no mdev driver: {reason:#}");
    }
    let accel = machine::choose(args.accel, &kernel.image)?;
    eprintln!("vm: kernel {} ({}) under {accel}", kernel.release, kernel.origin);

    eprintln!("vm: building what runs in it; the first time this takes some minutes");
    let workshop = guest::Workshop::open(&crate::workspace::target()?)?;
    let initramfs = workshop.initramfs(&kernel, mtty.as_deref(), args)?;
    let machine = machine::Machine { kernel: &kernel.image, initramfs: &initramfs, accel, console: workshop.console() };
    // A minute of the soak ends with a comparison, which may take long on a busy machine.
    let soak = if args.only.as_deref().is_some_and(|only| only.contains("soak")) { args.minutes * 120 } else { 0 };
    let timeout = Duration::from_secs(args.timeout.unwrap_or_else(|| accel.patience() + soak));
    let guest = machine.boot().context("QEMU does not start")?;
    let report = session::follow(guest, timeout, &workshop.console())?;
    match args.keep {
        true => eprintln!("vm: boot it by hand with: {}", machine.by_hand()),
        false => drop(std::fs::remove_file(&initramfs)),
    }
    println!("verdict {report} kernel={} seconds={}", kernel.release, begun.elapsed().as_secs());
    Ok(report)
}

/// The kernel to boot, and where packages for it are to be had.
fn find(args: &Args, cache: &cache::Cache) -> Result<(Archive, Kernel)> {
    match (&args.kernel, &args.modules) {
        (Choice::File(image), Some(modules)) => Ok((Archive::own(cache), Kernel::given(image, modules)?)),
        (Choice::File(image), None) => {
            bail!(
                "--kernel {}: a file needs the folder of its modules, too (--modules DIR); kernels known by name are 6.1, 6.1-built-in, 6.12, 6.12-iommufd, sid and all",
                image.display()
            )
        }
        (_, Some(_)) => bail!("--modules goes with `--kernel FILE`"),
        (Choice::Series(series), None) => {
            let archive = Archive::of_suite(cache, series.suite);
            let kernel = match series.build {
                Build::Debian => debian::kernel(cache, &archive, *series, args.refresh)?,
                Build::Iommufd => {
                    let kernel = debian::kernel(cache, &archive, *series, args.refresh)?;
                    let rebuilt = iommufd::find_or_build(cache, &archive, &kernel)?;
                    Kernel { rebuilt: Some(rebuilt), ..kernel }
                }
                Build::BuiltIn => built_in::find_or_build(cache, &archive, series.version, args.refresh)?,
            };
            Ok((archive, kernel))
        }
        (Choice::All, None) => bail!("--kernel all runs checks only"),
    }
}
