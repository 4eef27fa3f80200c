//! The thread on which vfiod talks to the API server.

use super::{CrName, Document, follow::Follower, reporter::Reporter};
use crate::{board::Board, probe::give_up};
use futures_util::future::OptionFuture;
use std::{io, sync::Arc, thread};
use tokio::sync::{mpsc, watch};
use tracing::warn;
use vfiod_core::events::Occurrence;

/// What is wanted of the cluster.
#[derive(Debug)]
pub struct Orders {
    /// The KubeVirt CR to follow.
    pub wanted: Option<CrName>,
    /// The Events to write.
    pub events: Option<EventOrders>,
    /// Where what is known of the cluster is noted.
    pub board: Arc<Board>,
    /// Set when the agent stops.
    pub stop: watch::Receiver<bool>,
}

/// Which Events are written.
#[derive(Debug)]
pub struct EventOrders {
    /// This node's name in the cluster.
    pub node: String,
    /// What happens.
    pub queue: mpsc::Receiver<Occurrence>,
}

/// Starts the thread; what the CR says comes through the receiver.
///
/// # Errors
/// When the kernel gives no thread or no event loop.
pub fn start(orders: Orders) -> io::Result<watch::Receiver<Option<Document>>> {
    let (documents, told) = watch::channel(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("vfiod-cluster".to_owned()).spawn(move || {
        // Capabilities belong to threads: this one needs none.
        if let Err(error) = give_up(None) {
            warn!("capabilities that are not needed cannot be given up: {error}");
        }
        let Orders { wanted, events, board, mut stop } = orders;
        let reporting = events.map(|EventOrders { node, queue }| Reporter::new(node, Arc::clone(&board)).run(queue));
        let following = wanted.map(|wanted| Follower::new(wanted, board, documents).run());
        runtime.block_on(async move {
            let both = async { tokio::join!(OptionFuture::from(reporting), OptionFuture::from(following)) };
            tokio::select! {
                _ = both => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        // A lookup of a name may hang in the system's resolver: it holds nobody up.
        runtime.shutdown_background();
    })?;
    Ok(told)
}
