//! `vfiod vmi check`: whether a virtual machine would start on this node now, and with which devices.
//!
//! It plays the admission through on what it sees of the host: it chooses as `GetPreferredAllocation` advises, grants as
//! `Allocate` does, and gives the variables to what virt-launcher does with them. It needs no running daemon and changes
//! nothing.

mod admission;
mod list;
mod text;

use super::{
    Failure,
    machines::{Document, WOULD_NOT_START, chosen, write},
    sight,
};
use crate::{
    holders::Sight,
    io::{IoMode, Runtime},
};
use admission::{Trial, admit};
use clap::{Args, Subcommand, ValueEnum};
use list::MachineCheck;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};
use vfiod_core::{
    hostdev::{Machine, permitted, requests},
    permit::{Parsed, ServeMode},
};

/// What to do with virtual machines.
#[derive(Debug, Subcommand)]
pub(super) enum VmiCommand {
    /// Tell whether a virtual machine would start on this node now, with which devices, and if not, why
    Check(VmiCheckArgs),
}

/// Tells whether a virtual machine would start on this node now, with which devices, and if not, why.
///
/// Only its host devices are looked at, not its processors, memory or volumes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it would start, 1 a file or the host cannot be read, 2 wrong usage, 3 a document \
                        is wrong, 4 it would not start."
)]
pub(super) struct VmiCheckArgs {
    /// VirtualMachineInstance or VirtualMachine, as YAML or JSON, among other documents or not; - reads stdin
    #[arg(value_name = "FILE")]
    vmi: PathBuf,
    /// What is permitted: a KubeVirt CR, a snippet of one, or vfiod's own configuration
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Where the host's /sys, /dev, /proc and /var/log/pods are found
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// The kubelet's folder, which says who owns a device
    #[arg(long, env = "VFIOD_KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Which entries vfiod serves: of a KubeVirt CR those with externalResourceProvider, else all (auto); only those; all
    #[arg(long, env = "VFIOD_SERVE", value_name = "auto|external|all", default_value = "auto")]
    serve: ServeMode,
    /// Only this machine of several
    #[arg(long, env = "VFIOD_NAME", value_name = "[NAMESPACE/]NAME")]
    name: Option<String>,
    /// How the answer is written
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// See docs/VM.md
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// When a file or the host cannot be read, a document is wrong, or a machine would not start.
pub(super) fn run(command: &VmiCommand) -> Result<(), Failure> {
    let VmiCommand::Check(args) = command;
    let document = Document::read(&args.vmi, "give the path of a readable file, or - for stdin")?;
    let read = document.machines()?;
    document.tell(&read.problems, &read.notices);
    let machines = chosen(read.machines, args.name.as_deref(), &document)?;
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    let (trials, summary) = runtime.block_on(check(args, machines))?;
    let text = match args.output {
        Output::Text => text::render(&trials, &document.name),
        Output::Json => {
            let list = MachineCheck::of(&trials, &read.problems, &read.notices);
            serde_json::to_string_pretty(&list).map_err(|error| Failure::Error(error.to_string()))? + "\n"
        }
    };
    write(&text)?;
    if !read.problems.is_empty() {
        return Err(Failure::Config(format!("{}: {} problem(s), told above", document.name, read.problems.len())));
    }
    if trials.iter().any(|trial| !trial.starts()) {
        return Err(Failure::Logged(WOULD_NOT_START));
    }
    if !summary.complete {
        return Err(Failure::Error("the host could not be read in full; see the faults above".to_owned()));
    }
    match summary.problems {
        0 => Ok(()),
        problems => Err(Failure::Config(format!("{}: {problems} problem(s), told above", args.config.display()))),
    }
}

/// What is to be said of all machines together.
struct Summary {
    complete: bool,
    problems: usize,
}

async fn check(args: &VmiCheckArgs, machines: Vec<Machine>) -> Result<(Vec<Trial>, Summary), Failure> {
    // Who serves a resource does not change which devices it has.
    let parsed = sight::read_config(&args.config, ServeMode::All).await?;
    let serving = sight::read_config(&args.config, args.serve).await?;
    let mut summary = Summary { complete: true, problems: parsed.problems.len() };
    let mut notes: Vec<String> =
        parsed.problems.iter().map(|problem| format!("{}:{problem}", args.config.display())).collect();
    let mut trials = Vec::new();
    for machine in machines {
        // Each machine is alone on the node as it is now: a grant to one takes nothing from the next.
        let mut sight = sight::look(parsed.permit.clone(), &args.host_root, &args.kubelet_dir).await;
        let tracker = sight::hold(&mut sight.inventory, &args.host_root, &mut notes);
        notes.extend(blind(tracker.sight()));
        summary.complete &= sight.complete;
        notes.extend(sight.notes);
        trials.push(trial(machine, sight.inventory, &parsed, &serving));
    }
    let mut said = std::collections::BTreeSet::new();
    for note in notes.into_iter().filter(|note| said.insert(note.clone())) {
        _ = writeln!(io::stderr(), "{note}");
    }
    Ok((trials, summary))
}

/// What of the holders could not be seen: a device that somebody holds then looks free.
fn blind(sight: &Sight) -> Option<String> {
    match sight {
        Sight::None | Sight::Kernel | Sight::Proc { unreadable: 0 } => None,
        Sight::Failed(reason) => {
            Some(format!("who has devices open is not known: {reason}; name the host's root with --host-root"))
        }
        Sight::Proc { unreadable } => Some(format!(
            "what some processes have open is not known ({unreadable} cannot be looked at): CAP_SYS_PTRACE would tell"
        )),
    }
}

fn trial(machine: Machine, inventory: vfiod_core::inventory::Inventory, parsed: &Parsed, serving: &Parsed) -> Trial {
    let all = requests(&machine);
    let mut trial = admit(machine, all, inventory, parsed, serving);
    trial.problems.extend(permitted(&trial.machine, parsed));
    trial.problems.sort_by_key(|problem| problem.at);
    trial
}
