//! What the loop is told at its start, and what it shares with the other threads.

use crate::{
    cluster::Document,
    discovery::HostRoot,
    instance::Keeper,
    plugin::{Desk, FenceQuery, KubeletSocket},
    probe::{Absent, ProbeOptions},
    status::{Feed, Query},
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch as signal};
use vfiod_core::{allocator::Resource, events::Occurrence};

/// What the loop is told at its start.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Where the host's files are.
    pub root: HostRoot,
    /// The kubelet's folder (`--kubelet-dir`).
    pub kubelet_dir: PathBuf,
    /// The folder of what outlives the agent, and not the host's next boot (`--state-dir`).
    pub state_dir: PathBuf,
    /// Whether this vfiod keeps what is in it.
    pub keeper: Keeper,
    /// How often everything is read again, as a safety net.
    pub rescan: Duration,
    /// How the kernel probe is started.
    pub probe: ProbeOptions,
}

/// Why the loop did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host gives no watches.
    #[error("the host cannot be watched: {0}")]
    Watches(#[from] io::Error),
    /// `--probe require`, and there is none.
    #[error("--probe require: {0}")]
    Probe(Absent),
}

/// What the loop shares with the other threads.
#[derive(Debug)]
pub struct Channels {
    /// The border to the endpoints.
    pub desk: Desk,
    /// Queries of the fence.
    pub fence: mpsc::UnboundedReceiver<FenceQuery>,
    /// Resources that need an endpoint.
    pub opened: mpsc::UnboundedSender<Arc<Resource>>,
    /// The kubelet's socket.
    pub kubelet: signal::Sender<KubeletSocket>,
    /// Questions from the status socket.
    pub queries: mpsc::UnboundedReceiver<Query>,
    /// What changes, for whoever looks.
    pub feed: Feed,
    /// Commands from signals.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// The KubeVirt CR, where it is the source.
    pub documents: Option<signal::Receiver<Option<Document>>>,
    /// What the cluster is told, where it is.
    pub events: Option<mpsc::Sender<Occurrence>>,
}

impl Channels {
    /// Tells the cluster; what it cannot take at once is dropped and counted.
    pub(super) fn tell(&self, occurrence: Occurrence) {
        if let Some(events) = &self.events
            && events.try_send(occurrence).is_err()
        {
            self.desk.board.cluster.events_dropped.one();
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration and the host again.
    Reload,
    /// End.
    Stop,
}
