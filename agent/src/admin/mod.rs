//! What operators look at: metrics, readiness, the page, and the status socket. One thread of its own, so that nobody who
//! looks can slow an `Allocate` down.
//!
//! ```text
//! Board (atomics) ──────────┐
//! tables of the allocator ──┼─> metrics, readiness ─> --metrics, --listen
//! questions to the reactor ─┘                         status socket
//! ```

mod address;
mod http;
mod listener;
pub mod metrics;
mod page;
mod ready;

pub use address::{DEFAULT_LISTEN, Listen, ParseListenError};
pub use ready::{PartCondition, Readiness, readiness};

use crate::{
    board::{Board, Part},
    instance::Keeper,
    status::{self, Model, Note, Query},
};
use http::{Face, Site};
use std::{io, path::PathBuf, sync::Arc, thread};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{LocalSet, spawn_local},
};
use vfiod_proto::status::PartState;

/// Readers of `/events` at a time.
const READERS: usize = 16;

/// What is served, and where.
#[derive(Debug)]
pub struct Options {
    /// `--listen`: everything, for people on this host.
    pub listen: Listen,
    /// `--metrics`: metrics and readiness alone, for the cluster.
    pub metrics: Listen,
    /// `--status-socket`.
    pub status_socket: PathBuf,
}

/// What is served of.
#[derive(Debug)]
pub struct Sources {
    /// What the other threads note.
    pub board: Arc<Board>,
    /// Whether this vfiod keeps the state: then it answers on the status socket.
    pub keeper: Keeper,
    /// Questions to the reactor.
    pub queries: mpsc::UnboundedSender<Query>,
    /// What changes of devices.
    pub notes: mpsc::UnboundedReceiver<Note>,
    /// Set when the agent stops.
    pub stop: watch::Receiver<bool>,
}

/// Starts the thread; what it returns is told when the thread has ended.
///
/// # Errors
/// When there can be no such thread.
pub fn start(options: Options, sources: Sources) -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("vfiod-admin".to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, serve(options, sources));
        // Nobody may wait for it any more.
        let _ = ended.send(());
    })?;
    Ok(end)
}

async fn serve(options: Options, Sources { board, keeper, queries, notes, stop }: Sources) {
    let (asks, asked) = mpsc::unbounded_channel();
    let model = Model::new(Arc::clone(&board), parts);
    spawn_local(model.run(notes, asked));
    let site = |face| {
        let (board, queries, asks) = (Arc::clone(&board), queries.clone(), asks.clone());
        Arc::new(Site { face, board, queries, asks, stop: stop.clone(), readers: Arc::new(Semaphore::new(READERS)) })
    };
    tokio::join!(
        listener::serve(options.listen, Part::Page, site(Face::People)),
        listener::serve(options.metrics, Part::Metrics, site(Face::Machines)),
        status::serve(&options.status_socket, keeper, &board, queries.clone(), asks.clone(), stop.clone()),
    );
}

/// How the daemon is, for whoever follows it.
fn parts(board: &Board) -> (bool, Vec<PartState>) {
    let Readiness { ready, parts } = readiness(board);
    let state = |part: PartCondition| PartState {
        part: part.part.to_owned(),
        condition: part.condition.to_owned(),
        text: part.text,
    };
    (ready, parts.into_iter().map(state).collect())
}
