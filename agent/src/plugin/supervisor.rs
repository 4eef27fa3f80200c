//! The supervisor: one endpoint task per resource, no more and no less.

use super::{
    desk::Desk,
    endpoint::Endpoint,
    kubelet::{KubeletFolder, KubeletSocket},
    socket::remove_stale_sockets,
    way::RegistrationMode,
};
use crate::board::Served;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{error, info, warn};
use vfiod_core::allocator::Resource;

/// How long endpoints may take to finish their calls when the agent stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts an endpoint for every resource that the reactor opens; they end by themselves.
#[derive(Debug)]
pub struct Supervisor {
    /// What endpoints share with the reactor.
    pub desk: Desk,
    /// The kubelet's folder.
    pub folder: KubeletFolder,
    /// How the kubelet learns of the endpoints.
    pub mode: RegistrationMode,
    /// The kubelet, as the reactor sees it.
    pub kubelet: watch::Receiver<KubeletSocket>,
    /// Resources that need an endpoint.
    pub opened: mpsc::UnboundedReceiver<Arc<Resource>>,
    /// Set when the agent stops.
    pub stop: watch::Receiver<bool>,
}

impl Supervisor {
    /// Runs until the agent stops, and until the endpoints have closed their streams.
    pub async fn run(mut self) {
        // A socket of an agent that is gone keeps the kubelet's plugin watcher dialling.
        if let Ok(count @ 1..) = remove_stale_sockets(self.folder.registry()) {
            info!(count, "removed sockets of agents that are gone from the plugin watcher's folder");
        }
        let mut endpoints = JoinSet::new();
        loop {
            let opened = tokio::select! {
                opened = self.opened.recv() => opened,
                Some(ended) = endpoints.join_next() => {
                    if let Err(error) = ended {
                        error!("an endpoint ended unexpectedly: {error}; the other resources are still served");
                    }
                    continue;
                }
                _ = self.stop.wait_for(|stop| *stop) => None,
            };
            match opened {
                Some(resource) => self.start(resource, &mut endpoints),
                None => break,
            }
        }
        let all = async { while endpoints.join_next().await.is_some() {} };
        if timeout(DRAIN, all).await.is_err() {
            warn!("calls were still running after {} s and were cut off", DRAIN.as_secs());
        }
    }

    fn start(&self, resource: Arc<Resource>, endpoints: &mut JoinSet<()>) {
        info!(resource = %resource.name(), "serving");
        let rung = Arc::new(Notify::new());
        let waker = Arc::clone(&rung);
        resource.bell().connect(move || waker.notify_waiters());
        let served = Arc::new(Served::new(Arc::clone(&resource)));
        self.desk.board.opened(&served);
        let endpoint = Endpoint {
            resource,
            served: Arc::clone(&served),
            desk: self.desk.clone(),
            folder: self.folder.clone(),
            mode: self.mode,
            kubelet: self.kubelet.clone(),
            stop: self.stop.clone(),
            rung,
        };
        let board = Arc::clone(&self.desk.board);
        endpoints.spawn(async move {
            endpoint.run().await;
            board.closed(&served);
        });
    }
}
