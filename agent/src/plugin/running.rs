//! The server of one registration: its socket, its connections, and what the kubelet does on them.

use super::{
    desk::Desk,
    incoming::incoming,
    server::{Inner, Service},
    socket::{Socket, SocketError},
    watcher::{Registrar, Told},
};
use crate::board::Served;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::unix::UCred,
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::warn;

/// A kubelet up to 1.32 disconnects the live client of a name when an old stream of that name ends: the old stream must
/// have ended before the name is registered again.
const STREAM_END: Duration = Duration::from_millis(20);
/// How long calls in flight may take when an endpoint ends.
const DRAIN: Duration = Duration::from_secs(3);

/// A server that runs.
pub(super) struct Running {
    socket: Socket,
    end: watch::Sender<bool>,
    calls: Arc<Calls>,
    server: JoinHandle<()>,
    is_watched: bool,
}

/// What is known of the kubelet's calls.
///
/// Anybody on the host with the right may call an endpoint. Only the end of the kubelet's own stream means that the
/// kubelet has forgotten the plugin.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The process behind the kubelet's registration socket; 0 while unknown, or in a pid namespace that hides it.
    kubelet: AtomicI32,
    has_stream: AtomicBool,
    stream_ended: Notify,
}

/// The kubelet's stream, as long as it is open.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<Calls>);

impl Running {
    /// Serves a resource on a new socket at `path`. Where `told` is given, the kubelet's plugin watcher is expected to
    /// find it there, and to say what came of it.
    pub(super) fn start(
        path: PathBuf,
        served: &Arc<Served>,
        desk: &Desk,
        rung: &Arc<Notify>,
        told: Option<watch::Sender<Told>>,
    ) -> Result<Self, SocketError> {
        let (socket, listener) = Socket::bind(path)?;
        let (end, mut ended) = watch::channel(false);
        let calls = Arc::new(Calls::default());
        let is_watched = told.is_some();
        let registrar = told.map(|told| Registrar::new(served.name(), socket.path(), told, &calls).service());
        let service = Inner {
            resource: Arc::clone(served.resource()),
            served: Arc::clone(served),
            desk: desk.clone(),
            rung: Arc::clone(rung),
            stop: ended.clone(),
            calls: Arc::clone(&calls),
        };
        let name = served.name().clone();
        let server = tokio::spawn(async move {
            let stop = async move {
                let _ = ended.wait_for(|end| *end).await;
            };
            let served = tonic::transport::Server::builder()
                .add_service(Service::from(service))
                .add_optional_service(registrar)
                .serve_with_incoming_shutdown(incoming(listener, name.clone()), stop)
                .await;
            if let Err(error) = served {
                warn!(resource = %name, "the endpoint failed: {error}");
            }
        });
        Ok(Self { socket, end, calls, server, is_watched })
    }

    /// The name under which it is registered.
    pub(super) fn name(&self) -> String {
        self.socket.name()
    }

    /// Whether the kubelet's plugin watcher finds it: then only the end of the stream says that the kubelet has gone.
    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Whether its socket file is still there.
    pub(super) fn is_there(&self) -> bool {
        self.socket.is_there()
    }

    /// What the kubelet does.
    pub(super) const fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Ends the streams, then the server. A retired resource first sends its last, empty list.
    pub(super) async fn finish(self, retired: bool) {
        if retired && self.calls.has_stream() {
            let _ = timeout(DRAIN, self.calls.stream_ended()).await;
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

impl Calls {
    /// Notes who listens on the kubelet's socket.
    pub(super) fn kubelet_is(&self, listener: Option<UCred>) {
        self.kubelet.store(listener.and_then(|listener| listener.pid()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes a `ListAndWatch` call; `None` when it is not the kubelet's. The kubelet makes one a registration.
    pub(super) fn stream_opens(self: &Arc<Self>, caller: Option<UCred>) -> Option<OpenStream> {
        let kubelet = self.kubelet.load(Ordering::Relaxed);
        let caller = caller.and_then(|caller| caller.pid()).unwrap_or(0);
        if caller != kubelet && caller != 0 && kubelet != 0 {
            return None;
        }
        (!self.has_stream.swap(true, Ordering::Relaxed)).then(|| OpenStream(Arc::clone(self)))
    }

    /// Whether the kubelet has asked for the list.
    pub(super) fn has_stream(&self) -> bool {
        self.has_stream.load(Ordering::Relaxed)
    }

    /// Waits for the end of the kubelet's stream.
    pub(super) async fn stream_ended(&self) {
        self.stream_ended.notified().await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.stream_ended.notify_one();
    }
}
