//! Whom to ask about holders: the running daemon, or the host itself where none runs.

use super::{Failure, sight};
use crate::{
    holders::Tracker,
    status::{self, Client, DEFAULT_SOCKET},
};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use vfiod_core::{
    inventory::Inventory,
    permit::{Permit, ServeMode},
};

/// Where to ask, and where to look when nobody answers.
#[derive(Debug, Args)]
pub(super) struct WitnessArgs {
    /// The status socket of the running daemon
    #[arg(long, env = "VFIOD_STATUS_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    status_socket: PathBuf,
    /// What is permitted; used only when no daemon answers
    #[arg(long, env = "VFIOD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host's /sys, /dev, /proc and /var/log/pods are found; used only when no daemon answers
    #[arg(long, env = "VFIOD_HOST_ROOT", value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// The kubelet's folder, which says who owns a device; used only when no daemon answers
    #[arg(long, env = "VFIOD_KUBELET_DIR", value_name = "DIR", default_value = "/var/lib/kubelet")]
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
}

impl WitnessArgs {
    /// The socket, for messages.
    pub(super) fn socket(&self) -> &Path {
        &self.status_socket
    }

    /// The running daemon; `None` when none answers.
    pub(super) async fn daemon(&self) -> Result<Option<Client>, Failure> {
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
        let socket = self.status_socket.display();
        let mut notes = vec![format!("no vfiod answers on {socket}: this is what the host itself shows")];
        let permit = match &self.config {
            Some(path) => {
                let parsed = sight::read_config(path, self.serve).await?;
                notes.extend(sight::findings(path, &parsed));
                parsed.permit
            }
            None => Permit::default(),
        };
        let sight::Sight { mut inventory, notes: seen, .. } =
            sight::look(permit, &self.host_root, &self.kubelet_dir).await;
        notes.extend(seen);
        let tracker = sight::hold(&mut inventory, &self.host_root, &mut notes);
        inventory.settle(Duration::ZERO);
        Ok(View { inventory, tracker, notes })
    }
}
