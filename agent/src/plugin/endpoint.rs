//! One endpoint: serves a resource and keeps it registered, whatever the kubelet does.

use super::{
    desk::Desk,
    incoming::incoming,
    kubelet::{KubeletFolder, KubeletSocket},
    list_and_watch::capacity,
    registration::{RegisterError, register},
    server::Service,
    socket::Socket,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};
use vfiod_core::allocator::Resource;
use vfiod_proto::deviceplugin::device_plugin_server::DevicePluginServer;

/// The first pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A stream that the kubelet keeps at least this long was a good one: the pauses begin anew.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// A kubelet up to 1.32 disconnects the live client of a name when an old stream of that name ends: the old stream must
/// have ended before the name is registered again.
const STREAM_END: Duration = Duration::from_millis(20);
/// How long calls in flight may take when an endpoint ends.
const DRAIN: Duration = Duration::from_secs(3);

/// An endpoint of one resource.
pub(super) struct Endpoint {
    pub(super) resource: Arc<Resource>,
    pub(super) desk: Desk,
    pub(super) folder: KubeletFolder,
    pub(super) kubelet: watch::Receiver<KubeletSocket>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) rung: Arc<Notify>,
}

/// A server that runs.
struct Running {
    socket: Socket,
    end: watch::Sender<bool>,
    stream_ended: Arc<Notify>,
    server: JoinHandle<()>,
}

/// Why a registration came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Another kubelet listens now.
    KubeletRestarted,
    /// The socket file was removed.
    SocketRemoved,
    /// The kubelet ended the stream.
    StreamEnded,
    /// The resource is no longer served.
    Retired,
    /// The agent stops.
    Stopping,
}

impl Endpoint {
    /// Serves until the resource is retired or the agent stops.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        loop {
            let Some(kubelet) = self.kubelet_present().await else { return };
            let started = Instant::now();
            let failure = match self.serve(kubelet).await {
                Ok(End::Retired | End::Stopping) => return,
                Ok(End::StreamEnded) if started.elapsed() < GOOD_STREAM => {
                    let hint = "the kubelet ends the stream soon after the registration; is another plugin serving this resource?";
                    if pause > FIRST_PAUSE * 8 { Some(hint.to_owned()) } else { None }
                }
                Ok(end) => {
                    info!(resource = %self.resource.name(), "registering again: {}", end.text());
                    (pause, complained) = (FIRST_PAUSE, false);
                    continue;
                }
                Err(error) => Some(error),
            };
            if let Some(failure) = failure {
                if complained {
                    debug!(resource = %self.resource.name(), "{failure}");
                } else {
                    warn!(resource = %self.resource.name(), "{failure}; trying again until it works");
                }
                complained = true;
            }
            if !self.rest(pause, kubelet).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until a kubelet listens; `None` when there is nothing left to serve.
    async fn kubelet_present(&mut self) -> Option<KubeletSocket> {
        loop {
            let seen = *self.kubelet.borrow_and_update();
            if *self.stop.borrow() || self.resource.is_retired() {
                return None;
            }
            if seen.identity.is_some() {
                return Some(seen);
            }
            tokio::select! {
                changed = self.kubelet.changed() => changed.ok()?,
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = self.rung.notified() => {}
            }
        }
    }

    /// Rests after a failure, until something changes at the kubelet. False when the agent stops.
    async fn rest(&mut self, pause: Duration, seen: KubeletSocket) -> bool {
        tokio::select! {
            () = sleep(pause) => true,
            _ = self.kubelet.wait_for(|now| now.identity != seen.identity) => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }

    /// One registration, from the socket to its end.
    async fn serve(&mut self, kubelet: KubeletSocket) -> Result<End, String> {
        let running = self.start().map_err(|error| error.to_string())?;
        let registered = register(&self.folder.socket(), &running.socket.name(), self.resource.name()).await;
        let end = match registered {
            Ok(()) => {
                let (healthy, all) = capacity(&self.resource);
                info!(resource = %self.resource.name(), devices = all, healthy, socket = running.socket.name(), "registered");
                Ok(self.watch(&running, kubelet).await)
            }
            Err(RegisterError::NoKubelet { .. }) if !running.socket.is_there() => Ok(End::SocketRemoved),
            Err(error) => Err(error.to_string()),
        };
        running.finish(end.as_ref().is_ok_and(|end| *end == End::Retired)).await;
        end
    }

    fn start(&self) -> Result<Running, super::socket::SocketError> {
        let (socket, listener) = Socket::bind(self.folder.path(), self.resource.name())?;
        let (end, ended) = watch::channel(false);
        let stream_ended = Arc::new(Notify::new());
        let service = Service {
            resource: Arc::clone(&self.resource),
            desk: self.desk.clone(),
            rung: Arc::clone(&self.rung),
            stop: ended.clone(),
            stream_ended: Arc::clone(&stream_ended),
        };
        let name = self.resource.name().clone();
        let server = tokio::spawn(async move {
            let mut ended = ended;
            let stop = async move {
                let _ = ended.wait_for(|end| *end).await;
            };
            let served = tonic::transport::Server::builder()
                .add_service(DevicePluginServer::new(service))
                .serve_with_incoming_shutdown(incoming(listener, name.clone()), stop)
                .await;
            if let Err(error) = served {
                warn!(resource = %name, "the endpoint failed: {error}");
            }
        });
        Ok(Running { socket, end, stream_ended, server })
    }

    /// Waits until the registration ends.
    async fn watch(&mut self, running: &Running, kubelet: KubeletSocket) -> End {
        loop {
            if self.resource.is_retired() {
                return End::Retired;
            }
            tokio::select! {
                () = running.stream_ended.notified() => return End::StreamEnded,
                _ = self.stop.wait_for(|stop| *stop) => return End::Stopping,
                () = self.rung.notified() => {}
                changed = self.kubelet.changed() => {
                    if changed.is_err() {
                        return End::Stopping;
                    }
                    let now = *self.kubelet.borrow_and_update();
                    if now.identity.is_some() && now.identity != kubelet.identity {
                        return End::KubeletRestarted;
                    }
                    if now.identity.is_some() && !running.socket.is_there() {
                        return End::SocketRemoved;
                    }
                }
            }
        }
    }
}

impl Running {
    /// Ends the streams, then the server. A retired resource first sends its last, empty list.
    async fn finish(self, retired: bool) {
        if retired {
            let _ = timeout(DRAIN, self.stream_ended.notified()).await;
        }
        let _ = self.end.send(true);
        drop(self.socket);
        let mut server = self.server;
        // Calls in flight go on without holding up the next registration.
        if timeout(STREAM_END, &mut server).await.is_err() {
            tokio::spawn(async move {
                if timeout(DRAIN, &mut server).await.is_err() {
                    server.abort();
                }
            });
        }
    }
}

impl End {
    const fn text(self) -> &'static str {
        match self {
            Self::KubeletRestarted => "the kubelet has restarted",
            Self::SocketRemoved => "the socket was removed from the kubelet's folder",
            Self::StreamEnded => "the kubelet ended the stream",
            Self::Retired => "no longer permitted",
            Self::Stopping => "stopping",
        }
    }
}
