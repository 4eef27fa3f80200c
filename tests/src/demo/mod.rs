//! `cargo xtask demo`: the main job of vfiod, told as it happens.
//!
//! ```text
//! scenes/*   one scene a file, in the order in which they are told
//!    │ act on …                                   │ tell through …
//!    ▼                                            ▼
//! stage      the node, the kubelet, the agent     page      headings, sentences, tables on 80 columns
//! host       which devices the node has           figures   times, medians
//! ```
//!
//! The node and the kubelet are the simulator's; `vfiod` is the real binary, and every figure is measured in the run that
//! prints it. A scene that does not come out as told ends the demo with exit code 1.

mod figures;
mod host;
pub(crate) mod page;
mod scenes;
mod stage;

use page::Page;
use stage::Stage;
use std::{io, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Lines of the agent's log that are shown when a scene fails.
const TAIL: usize = 20;
/// As shells have it: 128 and the number of the signal.
const SIGNALLED: u8 = 128;

/// How big the node is, and how often things are measured.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "vfiod-demo", about = "Shows vfiod at work on a simulated node", max_term_width = 100)]
pub struct Options {
    /// PCI functions of the simulated node
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=16_384))]
    pub pci: u32,
    /// Mediated devices of the simulated node
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub mdevs: u32,
    /// How many devices are taken away and given back
    #[arg(long, value_name = "COUNT", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=40))]
    pub repeat: u32,
}

/// Plays the demo on stdout.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        // Made here and dropped here: whatever happens, the processes end and the folder goes.
        let mut stage = match Stage::open(Page::stdout(), options.clone()) {
            Ok(stage) => stage,
            Err(error) => {
                eprintln!("demo: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        let interrupted = match interruption() {
            Ok(interrupted) => interrupted,
            Err(error) => {
                eprintln!("demo: cannot listen for signals: {error}");
                return ExitCode::FAILURE;
            }
        };
        let ended = tokio::select! {
            ended = scenes::play(&mut stage) => Ok(ended),
            signal = interrupted => Err(signal),
        };
        match ended {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => failed(&stage, &error),
            Err(signal) => {
                eprintln!("\ndemo: interrupted; vfiod is stopped and the simulated node is removed");
                ExitCode::from(SIGNALLED + signal)
            }
        }
    })
}

/// Comes when somebody wants the demo to end: the number of the signal.
fn interruption() -> io::Result<impl Future<Output = u8>> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    Ok(async move {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    })
}

/// Says which scene failed, why, and what vfiod said last.
fn failed(stage: &Stage, error: &anyhow::Error) -> ExitCode {
    let reader_left = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(reader_left) {
        return ExitCode::FAILURE;
    }
    eprintln!("\ndemo: FAILED in scene {}\n{error:#}", stage.page.heading());
    let log = stage.log();
    let lines: Vec<&str> = log.lines().collect();
    if let Some(tail) = lines.get(lines.len().saturating_sub(TAIL)..).filter(|tail| !tail.is_empty()) {
        eprintln!("\nthe end of vfiod's log:");
        tail.iter().for_each(|line| eprintln!("  | {line}"));
    }
    ExitCode::FAILURE
}
