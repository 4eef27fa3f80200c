//! Whom to ask: the running daemon, or the host itself where none runs.

use super::{Failure, sight};
use crate::{
    cluster::CrName,
    config::{Config, FromKubeVirt},
    holders::Tracker,
    instance::Keeper,
    io::FileIo,
    status::{self, Client, DEFAULT_SOCKET},
};
use clap::{Args, ValueEnum};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use vfiod_core::{
    inventory::Inventory,
    permit::{Permit, ServeMode},
};

const HOST_ROOT: &str = "/";
const KUBELET_DIR: &str = "/var/lib/kubelet";

/// Whom to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum From {
    /// The daemon where one runs, else the host.
    #[default]
    Auto,
    /// The daemon, or nobody.
    Daemon,
    /// The host, whether a daemon runs or not.
    Host,
}

/// Where to ask, and where to look when nobody answers.
#[derive(Debug, Args)]
pub(super) struct WitnessArgs {
    /// The status socket of the running daemon
    #[arg(long, env = "VFIOD_STATUS_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    status_socket: PathBuf,
    /// Whom to ask: the running daemon, and where none runs the host itself (auto); the daemon alone; the host itself
    #[arg(long, env = "VFIOD_FROM", value_enum, default_value_t)]
    from: From,
    /// What is permitted, or with --kubevirt settings alone; used only when no daemon answers
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the KubeVirt CR permits, as `vfiod run --kubevirt` has remembered it in --cache-dir; used only when no daemon answers.
    /// The API server is not asked
    #[arg(
        long,
        env = "VFIOD_KUBEVIRT",
        value_name = "NAMESPACE/NAME",
        num_args = 0..=1,
        default_missing_value = "only"
    )]
    kubevirt: Option<CrName>,
    /// The folder in which the last good KubeVirt CR is remembered
    #[arg(long, env = "VFIOD_CACHE_DIR", value_name = "DIR", default_value = "/var/lib/vfiod")]
    cache_dir: PathBuf,
    /// Where the host's /sys, /dev, /proc and /var/log/pods are found; used only when no daemon answers
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = HOST_ROOT)]
    host_root: PathBuf,
    /// The kubelet's folder, which says who owns a device; used only when no daemon answers
    #[arg(long, env = "VFIOD_KUBELET_DIR", value_name = "DIR", default_value = KUBELET_DIR)]
    kubelet_dir: PathBuf,
    /// Which entries of --config count as served
    #[arg(long, env = "VFIOD_SERVE", value_name = "auto|external|all", default_value = "auto")]
    serve: ServeMode,
}

/// Who answers.
pub(super) enum Witness {
    /// The running daemon.
    Daemon(Client),
    /// The host, as one look found it.
    Host(Box<View>),
}

/// What one look at the host found.
pub(super) struct View {
    pub(super) inventory: Inventory,
    pub(super) tracker: Tracker,
    /// Lines for stderr.
    pub(super) notes: Vec<String>,
    /// Whether the host could be read in full.
    pub(super) complete: bool,
    /// Whether it is known what is permitted.
    pub(super) configured: bool,
    /// How many problems the configuration has.
    pub(super) problems: u32,
}

impl WitnessArgs {
    /// The socket, for messages.
    pub(super) fn socket(&self) -> &Path {
        &self.status_socket
    }

    /// The configuration for when the host itself is read.
    pub(super) fn configuration(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// That the daemon says it, and which flags it makes meaningless. What comes from the environment is that of a container, which
    /// has it for the daemon: nobody has given that to be looked at.
    pub(super) fn says_daemon(&self) -> Vec<String> {
        let socket = self.status_socket.display();
        let mut says = vec![format!("the running vfiod says so ({socket})")];
        let by_hand = |variable: &str| std::env::var_os(variable).is_none();
        let given = [
            ("--config", "VFIOD_CONFIG", self.config.is_some()),
            ("--host-root", "VFIOD_HOST_ROOT", self.host_root != Path::new(HOST_ROOT)),
            ("--kubelet-dir", "VFIOD_KUBELET_DIR", self.kubelet_dir != Path::new(KUBELET_DIR)),
        ];
        let unused = given.into_iter().filter(|(_, variable, is_given)| *is_given && by_hand(variable));
        let unused: Vec<&str> = unused.map(|(flag, ..)| flag).collect();
        if !unused.is_empty() {
            says.push(format!(
                "not looked at: {}; with --from host the host itself is read, as these say",
                unused.join(", ")
            ));
        }
        says
    }

    /// The running daemon; `None` when none answers and that is no failure.
    pub(super) async fn daemon(&self) -> Result<Option<Client>, Failure> {
        if self.from == From::Host {
            return Ok(None);
        }
        let client = self.connect().await?;
        if client.is_none() && self.from == From::Daemon {
            let socket = self.status_socket.display();
            return Err(Failure::Error(format!(
                "no vfiod answers on {socket}; start it, name another socket with --status-socket, or leave --from daemon away"
            )));
        }
        Ok(client)
    }

    async fn connect(&self) -> Result<Option<Client>, Failure> {
        status::connect(&self.status_socket).await.map_err(|error| {
            let socket = self.status_socket.display();
            Failure::Error(format!("{socket}: {error}; run this as root, or name another socket with --status-socket"))
        })
    }

    /// Asks the daemon, or looks at the host.
    pub(super) async fn find(&self) -> Result<Witness, Failure> {
        match self.daemon().await? {
            Some(client) => Ok(Witness::Daemon(client)),
            None => self.look().await.map(|view| Witness::Host(Box::new(view))),
        }
    }

    async fn look(&self) -> Result<View, Failure> {
        let mut notes = vec![match self.from {
            From::Host => "this is what the host itself shows".to_owned(),
            From::Auto | From::Daemon => {
                format!("no vfiod answers on {}: this is what the host itself shows", self.status_socket.display())
            }
        }];
        let mut problems = 0;
        let permit = match (&self.kubevirt, &self.config) {
            (Some(wanted), _) => self.remembered(wanted, &mut notes).await?,
            (None, Some(path)) => {
                let parsed = sight::read_config(path, self.serve).await?;
                notes.extend(sight::findings(path, &parsed));
                problems = u32::try_from(parsed.problems.len()).unwrap_or(u32::MAX);
                Some(parsed.permit)
            }
            (None, None) => None,
        };
        let configured = permit.is_some();
        let permit = permit.unwrap_or_default();
        let sight::Sight { mut inventory, notes: seen, complete } =
            sight::look(permit, &self.host_root, &self.kubelet_dir).await;
        notes.extend(seen);
        let tracker = sight::hold(&mut inventory, &self.host_root, &mut notes);
        inventory.settle(Duration::ZERO);
        Ok(View { inventory, tracker, notes, complete, configured, problems })
    }

    /// What the CR permits; `None` where no running vfiod has read it yet.
    async fn remembered(&self, wanted: &CrName, notes: &mut Vec<String>) -> Result<Option<Permit>, Failure> {
        let (cache_dir, keeper) = (self.cache_dir.clone(), Keeper::onlooker());
        let from = FromKubeVirt { wanted: wanted.clone(), cache_dir, keeper };
        let config = Config::load_kubevirt(self.config.as_deref(), from, self.serve, FileIo::Plain).await;
        let config = config.map_err(|error| Failure::Config(error.to_string()))?;
        if !config.has_cr() {
            notes.push(format!(
                "no KubeVirt CR is remembered in {}, so that what it permits is not known: `vfiod run --kubevirt` remembers \
                 it there once it has read it; name its folder with --cache-dir",
                self.cache_dir.display()
            ));
            return Ok(None);
        }
        notes.extend(config.problems().iter().cloned());
        Ok(Some(Permit::clone(config.permit())))
    }
}
