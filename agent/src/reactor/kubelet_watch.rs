//! What happens in the kubelet's plugin folder, told to the endpoints.

use crate::{
    board::{Board, Condition, Part},
    monitor::watch::ChangeKind,
    plugin::{KubeletFolder, KubeletSocket, remove_stale_sockets},
};
use std::{ffi::OsStr, sync::Arc};
use tokio::sync::watch;
use tracing::{info, warn};
use vfiod_proto::{KUBELET_CHECKPOINT, KUBELET_SOCKET};

/// Follows the kubelet's socket.
#[derive(Debug)]
pub(super) struct KubeletWatch {
    folder: KubeletFolder,
    socket: watch::Sender<KubeletSocket>,
    announced: Option<bool>,
    board: Arc<Board>,
    /// What the changes of the batch so far call for.
    due: Due,
}

/// What is to be told to the endpoints when a batch of changes has been taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Due {
    look: bool,
    removals: bool,
}

impl KubeletWatch {
    pub(super) const fn new(folder: KubeletFolder, socket: watch::Sender<KubeletSocket>, board: Arc<Board>) -> Self {
        Self { folder, socket, announced: None, board, due: Due { look: false, removals: false } }
    }

    /// Looks who listens now, and tells the endpoints when that changed.
    pub(super) fn look(&mut self) {
        let identity = match self.folder.identity() {
            Ok(identity) => identity,
            Err(error) => {
                warn!(folder = %self.folder.path().display(), "cannot see the kubelet's socket: {error}; the last state holds");
                return;
            }
        };
        let present = identity.is_some();
        if self.announced != Some(present) {
            self.announced = Some(present);
            let path = self.folder.socket().display().to_string();
            let absent = || Condition::Failing(format!("no kubelet listens on {path}"));
            self.board.set(Part::Kubelet, if present { Condition::Good(path.clone()) } else { absent() });
            if present {
                info!(socket = %self.folder.socket().display(), "the kubelet is there");
            } else {
                info!(socket = %self.folder.socket().display(), "waiting for the kubelet");
            }
        }
        self.socket.send_if_modified(|socket| {
            let changed = socket.identity != identity;
            socket.identity = identity;
            changed
        });
    }

    /// Takes a change in the folder; returns whether the checkpoint is a new one. The endpoints are told by
    /// [`Self::tell`].
    pub(super) fn changed(&mut self, name: Option<&OsStr>, kind: ChangeKind) -> bool {
        match name.and_then(OsStr::to_str) {
            Some(KUBELET_CHECKPOINT) => return matches!(kind, ChangeKind::Created | ChangeKind::Written),
            Some(KUBELET_SOCKET) => self.due.look = true,
            Some(_) => self.due.removals |= kind == ChangeKind::Removed,
            None => {
                self.tidy();
                self.due = Due { look: true, removals: true };
            }
        }
        false
    }

    /// Tells the endpoints what a batch of changes came to, all at once: a kubelet that starts removes the sockets of all
    /// resources, and each endpoint would look for its own as often.
    pub(super) fn tell(&mut self) {
        let due = std::mem::take(&mut self.due);
        if due.look {
            self.look();
        }
        if due.removals {
            self.socket.send_modify(|socket| socket.removals += 1);
        }
    }

    /// Removes sockets that agents before this one left behind.
    pub(super) fn tidy(&self) {
        match remove_stale_sockets(self.folder.path()) {
            Ok(0) | Err(_) => {}
            Ok(count) => info!(count, "removed sockets of agents that are gone"),
        }
    }
}
