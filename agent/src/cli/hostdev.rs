//! `vfiod hostdev`: what virt-launcher makes of a virtual machine and the environment of its container.

mod list;

use super::{
    Failure,
    machines::{Document, WOULD_NOT_START, chosen, write},
    sight,
};
use crate::io::{IoMode, Runtime};
use clap::{Args, ValueEnum};
use list::HostDeviceList;
use std::{
    env,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use vfiod_core::{
    hostdev::{Assignment, Environment, Machine, Requests, assign, hostdev_xml, permitted, qemu_arguments, requests},
    permit::{Parsed, ServeMode},
    variables::EnvNames,
};

/// Shows what virt-launcher makes of a virtual machine and the environment of its container: libvirt's hostdev elements.
///
/// Nothing is written for a machine that would not start; what is wrong with it goes to stderr.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every entry has its device, 1 a file cannot be read, 2 wrong usage, 3 a document \
                        is wrong, 4 a machine would not start."
)]
pub(super) struct HostdevArgs {
    /// VirtualMachineInstance or VirtualMachine, as YAML or JSON, among other documents or not; - reads stdin
    #[arg(long, env = "VFIOD_VMI", value_name = "FILE")]
    vmi: PathBuf,
    /// The container's environment, as `env` prints it or as /proc/PID/environ; - reads stdin; without it, that of vfiod
    #[arg(long, env = "VFIOD_ENV", value_name = "FILE")]
    env: Option<PathBuf>,
    /// What is permitted, to check the resources against; a KubeVirt CR, a snippet of one, or vfiod's own configuration
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this machine of several
    #[arg(long, env = "VFIOD_NAME", value_name = "[NAMESPACE/]NAME")]
    name: Option<String>,
    /// Which variables are read: those of KubeVirt's code, as virt-launcher does (kubevirt); those that its user guide
    /// shows (seed); or both and the envAliases of --config, the first that is set
    #[arg(long, env = "VFIOD_SPELLING", value_name = "kubevirt|both|seed", default_value = "kubevirt")]
    spelling: EnvNames,
    /// How the devices are written
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// How the devices are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// libvirt's hostdev elements
    #[default]
    Xml,
    /// See docs/VM.md
    Json,
    /// Arguments of QEMU, a device a line
    Qemu,
}

/// One machine with its devices.
struct Outcome {
    machine: Machine,
    requests: Requests,
    assignment: Assignment,
}

/// Reads the documents and writes the devices.
///
/// # Errors
/// When a file cannot be read, a document is wrong, or a machine would not start.
pub(super) fn run(args: &HostdevArgs) -> Result<(), Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if is_stdin(&args.vmi) && args.env.as_deref().is_some_and(is_stdin) {
        return Err(Failure::Usage("stdin can be --vmi or --env, not both; write one of them to a file".to_owned()));
    }
    let document = Document::read(&args.vmi, "name a readable file with --vmi, or - for stdin")?;
    let read = document.machines()?;
    let environment = environment(args.env.as_deref())?;
    let parsed = args.config.as_deref().map(config).transpose()?;

    document.tell(&read.problems, &read.notices);
    let machines = chosen(read.machines, args.name.as_deref(), &document)?;
    let outcomes: Vec<Outcome> =
        machines.into_iter().map(|machine| outcome(machine, &environment, args.spelling, parsed.as_ref())).collect();
    for outcome in &outcomes {
        document.tell(&outcome.assignment.problems, &outcome.assignment.notices);
    }
    let text = match args.output {
        Output::Xml => documents(&outcomes, hostdev_xml, |title| format!("<!-- {title} -->\n")),
        Output::Qemu => documents(&outcomes, |devices| lines(&qemu_arguments(devices)), |title| format!("# {title}\n")),
        Output::Json => {
            let list = HostDeviceList::of(&outcomes, &read.problems, &read.notices);
            serde_json::to_string_pretty(&list).map_err(|error| Failure::Error(error.to_string()))? + "\n"
        }
    };
    write(&text)?;
    verdict(&document, &read.problems, &outcomes, parsed.as_ref(), args.config.as_deref())
}

fn verdict(
    document: &Document,
    problems: &[vfiod_core::permit::Problem],
    outcomes: &[Outcome],
    parsed: Option<&Parsed>,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let name = &document.name;
    if !problems.is_empty() {
        return Err(Failure::Config(format!("{name}: {} problem(s), told above", problems.len())));
    }
    let failing: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.starts()).map(|outcome| outcome.machine.to_string()).collect();
    if !failing.is_empty() {
        _ = writeln!(io::stderr(), "vfiod: {name}: would not start: {}", failing.join(", "));
        return Err(Failure::Logged(WOULD_NOT_START));
    }
    match (parsed.map_or(0, |parsed| parsed.problems.len()), config) {
        (0, _) | (_, None) => Ok(()),
        (problems, Some(path)) => {
            Err(Failure::Config(format!("{}: {problems} problem(s), told above", path.display())))
        }
    }
}

/// The environment of the file, or that of this process.
fn environment(file: Option<&Path>) -> Result<Environment, Failure> {
    let Some(file) = file else {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        return Ok(env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect());
    };
    let document = Document::read(file, "name a readable file with --env, or leave it out")?;
    // Other variables of a process may be anything; those of devices are plain.
    Environment::parse(&document.lossy()).map_err(|error| Failure::Config(format!("{}: {error}", document.name)))
}

fn config(path: &Path) -> Result<Parsed, Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    let parsed = runtime.block_on(sight::read_config(path, ServeMode::All))?;
    for problem in &parsed.problems {
        _ = writeln!(io::stderr(), "{}:{problem}", path.display());
    }
    Ok(parsed)
}

fn outcome(machine: Machine, environment: &Environment, spelling: EnvNames, parsed: Option<&Parsed>) -> Outcome {
    let requests = requests(&machine);
    let permit = parsed.map(|parsed| &parsed.permit);
    let mut assignment = assign(&machine, environment, spelling, permit);
    assignment.problems.extend(parsed.map_or_else(Vec::new, |parsed| permitted(&machine, parsed)));
    assignment.problems.extend(requests.problems.iter().cloned());
    assignment.problems.sort_by_key(|problem| problem.at);
    Outcome { machine, requests, assignment }
}

impl Outcome {
    fn starts(&self) -> bool {
        self.machine.sound && self.assignment.problems.is_empty()
    }
}

/// The devices of every machine that starts, each below its name where there are several machines.
fn documents(
    outcomes: &[Outcome],
    render: impl Fn(&[vfiod_core::hostdev::HostDevice]) -> String,
    title: impl Fn(&str) -> String,
) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.starts()) {
        if outcomes.len() > 1 {
            // Two hyphens would end a comment of XML.
            text.push_str(&title(&outcome.machine.to_string().replace("--", "- -")));
        }
        text.push_str(&render(&outcome.assignment.devices));
    }
    text
}

fn lines(arguments: &[String]) -> String {
    let mut text = String::new();
    for pair in arguments.chunks(2) {
        _ = writeln!(text, "{}", pair.join(" "));
    }
    text
}
