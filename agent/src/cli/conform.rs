//! `vfiod conform`: whether a device plugin keeps the conventions of the kubelet and of KubeVirt.

use super::Failure;
use crate::conform::{self, Check, Counts, Format, Hooks, Options, Target, all, named};
use clap::{ArgGroup, Args};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Plays the kubelet against any device plugin, and reports whether it keeps the kubelet's and KubeVirt's conventions.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["socket", "command", "list_checks"]))]
#[command(after_help = "\
Exit codes: 0 every convention that was checked is kept, 1 one is not, 2 usage, 5 there was nothing to check.

The command learns the folder of the kubelet that is played from {dir}, {kubelet-dir} (the folder above it) and {socket}
(kubelet.sock in it), which are filled in, and from DEVICE_PLUGIN_DIR, VFIOD_KUBELET_DIR and KUBELET_SOCKET in its
environment. A plugin that only knows /var/lib/kubelet/device-plugins: --plugin-dir /var/lib/kubelet/device-plugins, on a
machine without a kubelet.

Devices are really asked for (Allocate, PreStartContainer): do not check a socket whose devices are about to be used.
docs/CONFORMANCE.md lists the checks and describes the JSON.

In --break and --mend, {device}, {address} and {resource} are filled in; CONFORM_DEVICE, CONFORM_ADDRESS and
CONFORM_RESOURCE say the same.")]
pub(super) struct ConformArgs {
    /// The socket of a plugin that runs; without registration and restarts
    #[arg(value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// Start this plugin (sh -c), with a kubelet of its own
    #[arg(long, env = "VFIOD_CONFORM_COMMAND", value_name = "CMD")]
    command: Option<String>,
    /// The folder in which the command's plugin looks for the kubelet; must be empty, and is wiped [default: a private one]
    #[arg(long, env = "VFIOD_PLUGIN_DIR", value_name = "DIR", requires = "command")]
    plugin_dir: Option<PathBuf>,
    /// Check only this resource of the command; the name of the resource behind the socket
    #[arg(long, env = "VFIOD_RESOURCE", value_name = "NAME")]
    resource: Option<String>,
    /// Where the host's /sys and /dev are found
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// Make {device} unusable (sh -c); without it changes of health are not checked
    #[arg(long = "break", env = "VFIOD_BREAK", value_name = "CMD", requires = "mend")]
    broken: Option<String>,
    /// Make {device} usable again (sh -c)
    #[arg(long, env = "VFIOD_MEND", value_name = "CMD", requires = "broken")]
    mend: Option<String>,
    /// Leave out a check, or a group of checks; may be given several times
    #[arg(long, env = "VFIOD_SKIP", value_name = "CHECK", value_delimiter = ',', value_parser = checks)]
    skip: Vec<Named>,
    /// How long anything that the plugin should do may take
    #[arg(long, env = "VFIOD_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How the report is written
    #[arg(short, long, env = "VFIOD_OUTPUT", value_enum, default_value_t)]
    output: Format,
    /// Only list the checks, with what each one needs
    #[arg(long)]
    list_checks: bool,
}

/// What one `--skip` names.
#[derive(Debug, Clone)]
struct Named(Vec<&'static Check>);

/// Exit code when there was nothing to check.
const NOTHING: u8 = 5;

fn checks(text: &str) -> Result<Named, String> {
    let found = named(text);
    if found.is_empty() {
        return Err("no such check, and no such group; --list-checks shows them".to_owned());
    }
    Ok(Named(found))
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with a unit, such as 30s or 2m"))?;
    if duration < Duration::from_millis(100) {
        return Err("the shortest is 100ms".to_owned());
    }
    Ok(duration)
}

/// Runs the subcommand.
///
/// # Errors
/// When a convention is not kept, or nothing can be checked.
pub(super) fn run(args: ConformArgs) -> Result<(), Failure> {
    if args.list_checks {
        return print(&listed());
    }
    let target = match (args.socket, args.command) {
        (Some(socket), _) => Target::Socket(socket),
        (None, Some(command)) => Target::Command { command, plugin_dir: args.plugin_dir },
        (None, None) => return Err(Failure::Usage("name a socket, or a command with --command".to_owned())),
    };
    let hooks = args.broken.zip(args.mend).map(|(broken, mended)| Hooks { broken, mended });
    let options = Options {
        target,
        resource: args.resource,
        host_root: args.host_root,
        hooks,
        skip: args.skip.into_iter().flat_map(|named| named.0).collect(),
        patience: args.timeout,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Error(format!("cannot start an event loop: {error}")))?;
    let report = runtime.block_on(async {
        // Before the plugin is started: from then on there is something to end.
        let signals = Signals::listen()?;
        // What is dropped unfinished ends the plugin and removes its folder.
        tokio::select! {
            report = conform::run(&options) => report.map_err(|error| {
                _ = writeln!(io::stderr(), "vfiod: {error}");
                Failure::Logged(NOTHING)
            }),
            () = signals.interrupted() => Err(Failure::Error("interrupted; the plugin was ended".to_owned())),
        }
    })?;
    let text =
        report.render(args.output).map_err(|error| Failure::Error(format!("cannot write the report: {error}")))?;
    print(&text)?;
    let Counts { passed, failed, .. } = report.counts();
    match (passed, failed) {
        (_, 1..) => Err(Failure::Logged(1)),
        (0, 0) => {
            _ = writeln!(io::stderr(), "vfiod: nothing was checked; the report says why");
            Err(Failure::Logged(NOTHING))
        }
        (_, 0) => Ok(()),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Error(format!("cannot listen for signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for either.
    async fn interrupted(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that went away (`| head`) is no failure of the check.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Error(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line a check.
fn listed() -> String {
    let width = all().map(|check| check.name.len()).max().unwrap_or_default();
    all().map(|check| format!("{:<width$}  {:<15}  {}\n", check.name, check.needs.text(), check.title)).collect()
}
