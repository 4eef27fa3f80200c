//! `vfiod run`: the daemon.

use super::Failure;
use crate::{
    admin::{self, DEFAULT_LISTEN, Listen},
    board::{Board, Condition, Part},
    cluster::{self, CrName, Document, EventOrders, Orders},
    config::{Config, ConfigError, FromKubeVirt},
    discovery::HostRoot,
    instance::Keeper,
    io::{IoMode, Runtime},
    memory,
    plugin::{Clock, Desk, KubeletFolder, KubeletSocket, RegistrationMode, Supervisor},
    probe::{DEFAULT_PINS, ProbeMode, ProbeOptions, give_up},
    reactor::{self, Channels, Command, NodeOptions},
    status::{DEFAULT_SOCKET, Feed},
    telemetry::{self, LogFormat},
};
use clap::{ArgGroup, Args};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{path::PathBuf, sync::Arc, thread, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{error, info, warn};
use vfiod_core::{allocator::Register, events::Occurrence, permit::ServeMode};

/// Serves this host's VFIO devices to the kubelet.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).multiple(true).args(["config", "kubevirt"])))]
pub struct RunArgs {
    /// What is permitted: a KubeVirt CR, its permittedHostDevices, or vfiod's own configuration. With --kubevirt: settings
    /// alone
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve what the KubeVirt CR of the cluster permits, and follow its edits; without a name, the only one there is
    #[arg(
        long,
        env = "VFIOD_KUBEVIRT",
        value_name = "NAMESPACE/NAME",
        num_args = 0..=1,
        default_missing_value = "only"
    )]
    kubevirt: Option<CrName>,
    /// Tell the cluster as Events what becomes of devices; with --kubevirt unless said otherwise
    #[arg(long, env = "VFIOD_EVENTS", value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    events: Option<bool>,
    /// This node's name in the cluster, for Events; the host's name unless said otherwise
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// The folder in which the last good KubeVirt CR is remembered; it outlives the host's next boot
    #[arg(long, env = "VFIOD_CACHE_DIR", value_name = "DIR", default_value = "/var/lib/vfiod")]
    cache_dir: PathBuf,
    /// How the kubelet learns of vfiod's sockets: by the kubelet's socket, by its plugin watcher, or as the node allows
    #[arg(long, env = "VFIOD_REGISTRATION", value_enum, default_value_t)]
    registration: RegistrationMode,
    /// Where the host's /sys, /dev, /proc and /var/log/pods are found
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// The kubelet's folder, which holds device-plugins and pod-resources
    #[arg(long, env = "VFIOD_KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Which entries to serve: of a KubeVirt CR those with externalResourceProvider, else all (auto); only those; all
    #[arg(long, env = "VFIOD_SERVE", value_name = "auto|external|all", default_value = "auto")]
    serve: ServeMode,
    /// The event loop: io_uring where it is allowed (auto), io_uring or nothing, epoll
    #[arg(long, env = "VFIOD_IO", value_enum, default_value_t)]
    io: IoMode,
    /// The kernel probe: where the host allows it (auto), the probe or nothing, none
    #[arg(long, env = "VFIOD_PROBE", value_enum, default_value_t)]
    probe: ProbeMode,
    /// Pin the kernel probe in a BPF file system: it goes on when vfiod ends, and the next vfiod reads what it has told
    /// meanwhile. Without this flag a probe that was pinned in the default folder is removed
    #[arg(long, env = "VFIOD_PIN", value_name = "DIR", num_args = 0..=1, default_missing_value = DEFAULT_PINS)]
    pin: Option<PathBuf>,
    /// How often everything is read again, as a safety net
    #[arg(long, env = "VFIOD_RESCAN", value_name = "DURATION", default_value = "5m", value_parser = rescan)]
    rescan: Duration,
    /// The socket on which `vfiod holders` and `vfiod explain` ask this daemon; only root can open it
    #[arg(long, env = "VFIOD_STATUS_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    status_socket: PathBuf,
    /// Where people on this host look: the page, /status, /metrics, /healthz, /readyz; or off
    #[arg(long, env = "VFIOD_LISTEN", value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    listen: Listen,
    /// Where the cluster looks: /metrics, /healthz and /readyz alone, at an address such as 10.0.0.7:9421 or :9421; or off
    #[arg(long, env = "VFIOD_METRICS", value_name = "ADDR", default_value = "off")]
    metrics: Listen,
    /// The folder of what outlives vfiod and not the host's next boot: cordons, sticky faults, and what was found on the host
    #[arg(long, env = "VFIOD_STATE_DIR", value_name = "DIR", default_value = "/run/vfiod")]
    state_dir: PathBuf,
    /// How log lines are written to stderr
    #[arg(long, env = "VFIOD_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a list such as vfiod::plugin=debug,info
    #[arg(long, env = "VFIOD_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// How long the reactor may take to end: a read that hangs in the kernel cannot be called back, and must not hold up the
/// next agent.
const GRACE: Duration = Duration::from_secs(2);

/// How many Events may wait for the thread of the cluster.
const EVENTS: usize = 256;

fn rescan(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with a unit, such as 30s, 5m or 1h"))?;
    if duration < Duration::from_millis(100) {
        return Err("a rescan reads the whole host; the shortest period is 100ms".to_owned());
    }
    Ok(duration)
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration is bad, or the daemon cannot start.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    telemetry::start(args.log_format, &args.log_level).map_err(Failure::Usage)?;
    info!(version = env!("CARGO_PKG_VERSION"), "vfiod starts");
    memory::share();
    raise_file_limit();
    let plugins = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Error(format!("cannot start the event loop of the endpoints: {error}")))?;
    let json = args.log_format == LogFormat::Json;
    plugins.block_on(serve(args)).map_err(|failure| if json { failure.logged() } else { failure })
}

async fn serve(args: RunArgs) -> Result<(), Failure> {
    // From here on a signal ends or reloads the agent in good order, however early it comes.
    let signals = Signals::listen()?;
    let (folder, registration) = (KubeletFolder::below(&args.kubelet_dir), args.registration);
    let (fence, fence_queries) = mpsc::unbounded_channel();
    let (opened, to_open) = mpsc::unbounded_channel();
    let (kubelet, kubelet_seen) = watch::channel(KubeletSocket::default());
    let (commands, to_do) = mpsc::unbounded_channel();
    let (asked, queries) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let clock = Clock::start();
    let board = Arc::new(Board::default());
    let (register, granted) = (Arc::new(Register::default()), Arc::new(Notify::new()));
    let desk = Desk { clock, register, granted, fence, board: Arc::clone(&board) };
    let (documents, events) = start_cluster(&args, &board, &stopped)?;
    let (feed, notes) = Feed::new(Arc::clone(&board));
    let channels = Channels {
        desk: desk.clone(),
        fence: fence_queries,
        opened,
        kubelet,
        queries,
        feed,
        commands: to_do,
        documents,
        events,
    };

    let looked_at =
        admin::Options { listen: args.listen, metrics: args.metrics, status_socket: args.status_socket.clone() };
    let keeper = Keeper::stand(&args.state_dir);
    let keeps = keeper.clone();
    let (started, start) = oneshot::channel();
    let (ended, mut end) = oneshot::channel();
    thread::Builder::new()
        .name("vfiod-reactor".to_owned())
        .spawn(move || {
            let _ = ended.send(react(args, keeps, channels, started));
        })
        .map_err(|error| Failure::Error(format!("cannot start the reactor thread: {error}")))?;
    // Capabilities belong to threads: this one opens nothing in the kernel.
    if let Err(error) = give_up(None) {
        warn!("capabilities that are not needed cannot be given up: {error}");
    }
    match start.await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => return Err(failure),
        Err(_) => return Err(Failure::Error("the reactor ended before it had started".to_owned())),
    }

    let sources = admin::Sources { board, keeper, queries: asked, notes, stop: stopped.clone() };
    let looked_at = admin::start(looked_at, sources)
        .map_err(|error| Failure::Error(format!("cannot start the thread for operators: {error}")))?;
    let supervisor =
        Supervisor { desk, folder, mode: registration, kubelet: kubelet_seen, opened: to_open, stop: stopped };
    let endpoints = tokio::spawn(supervisor.run());
    let failure = tokio::select! {
        () = signals.until_stopped(&commands) => None,
        ended = &mut end => Some(match ended {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) | Err(_) => Failure::Error("the reactor ended unexpectedly".to_owned()),
        }),
    };

    // Streams are closed, nothing is zeroed: the kubelet keeps the capacity for the next agent.
    let _ = stop.send(true);
    if let Err(error) = endpoints.await {
        error!("the endpoints did not end cleanly: {error}");
    }
    // A client that does not close its connection must not hold up the next agent.
    if timeout(GRACE, looked_at).await.is_err() {
        warn!("a client of the status socket was cut off");
    }
    let _ = commands.send(Command::Stop);
    if !end.is_terminated() && timeout(GRACE, &mut end).await.is_err() {
        warn!("a read of the host still hangs in the kernel; not waiting for it");
    }
    info!("vfiod has stopped");
    failure.map_or(Ok(()), Err)
}

/// The KubeVirt CR, and the way to tell of Events; neither without API access.
type ClusterChannels = (Option<watch::Receiver<Option<Document>>>, Option<mpsc::Sender<Occurrence>>);

/// Starts the thread of the cluster, where anything is wanted of it.
fn start_cluster(args: &RunArgs, board: &Arc<Board>, stop: &watch::Receiver<bool>) -> Result<ClusterChannels, Failure> {
    let tells = args.events.unwrap_or(args.kubevirt.is_some());
    if !tells && args.kubevirt.is_none() {
        return Ok((None, None));
    }
    let (occurred, queue) = mpsc::channel(EVENTS);
    let node = args.node_name.clone().unwrap_or_else(cluster::host_name);
    let orders = Orders {
        wanted: args.kubevirt.clone(),
        events: tells.then_some(EventOrders { node, queue }),
        board: Arc::clone(board),
        stop: stop.clone(),
    };
    let documents = cluster::start(orders)
        .map_err(|error| Failure::Error(format!("cannot start the thread of the cluster: {error}")))?;
    Ok((args.kubevirt.is_some().then_some(documents), tells.then_some(occurred)))
}

/// The reactor thread, from its event loop to its end.
fn react(
    args: RunArgs,
    keeper: Keeper,
    channels: Channels,
    started: oneshot::Sender<Result<(), Failure>>,
) -> Result<(), Failure> {
    let (runtime, chosen) = match Runtime::start(args.io) {
        Ok(started) => started,
        Err(error) => {
            let _ = started.send(Err(Failure::Error(error.to_string())));
            return Ok(());
        }
    };
    match &chosen.reason {
        Some(reason) => warn!("the reactor runs on epoll: {reason}"),
        None => info!("the reactor runs on {}", chosen.kind),
    }
    let loop_is = match &chosen.reason {
        Some(reason) => Condition::Degraded(format!("epoll: {reason}")),
        None => Condition::Good(chosen.kind.to_string()),
    };
    channels.desk.board.set(Part::EventLoop, loop_is);
    runtime.block_on(async {
        let RunArgs { config, kubevirt, cache_dir, serve, .. } = &args;
        let loaded = match (kubevirt, config) {
            (Some(wanted), file) => {
                let kubevirt =
                    FromKubeVirt { wanted: wanted.clone(), cache_dir: cache_dir.clone(), keeper: keeper.clone() };
                Config::load_kubevirt(file.as_deref(), kubevirt, *serve, chosen.kind).await
            }
            (None, Some(file)) => Config::load(file, *serve, chosen.kind).await,
            // The command line is read so that it cannot be.
            (None, None) => Err(ConfigError::Rejected { lines: vec!["name a file with --config".to_owned()] }),
        };
        let config = match loaded {
            Ok(config) => config,
            Err(error) => {
                let _ = started.send(Err(Failure::Config(error.to_string())));
                return Ok(());
            }
        };
        let _ = started.send(Ok(()));
        let root = HostRoot::new(&args.host_root);
        let probe = ProbeOptions { mode: args.probe, pin: args.pin, ..ProbeOptions::default() };
        let RunArgs { kubelet_dir, state_dir, rescan, .. } = args;
        let options = NodeOptions { root, kubelet_dir, state_dir, keeper, rescan, probe };
        reactor::run(options, config, chosen.kind, channels).await.map_err(|error| Failure::Error(error.to_string()))
    })
}

/// The signals that the daemon knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Error(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; passes SIGHUP on.
    async fn until_stopped(mut self, commands: &mpsc::UnboundedSender<Command>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading the configuration and the host again");
                    let _ = commands.send(Command::Reload);
                }
            }
        }
    }
}

/// Raises the soft limit of open files to the hard one: many resources and clients need more than the usual 1024, which
/// is kept low only for programs that use `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
