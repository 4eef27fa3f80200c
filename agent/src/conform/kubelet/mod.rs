//! The kubelet that is played: its plugin folder, its registration socket, and its calls.
//!
//! It does what the kubelet does and keeps what it would refuse for the report: a plugin that registers a bad version is
//! told so there, and goes on being checked.

mod dial;
mod watch;

pub(super) use dial::{DialError, Dialled, Window, dial, told};
pub(super) use watch::{Seen, Stalled, Stream};

use crate::plugin::Lenient;
use futures_util::stream;
use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch as signal},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, transport::Server};
use vfiod_proto::{
    KUBELET_CHECKPOINT, KUBELET_SOCKET,
    deviceplugin::{
        DevicePluginOptions, Empty, RegisterRequest,
        registration_server::{Registration, RegistrationServer},
    },
};

/// How long the kubelet dials a plugin back (`pkg/kubelet/cm/devicemanager/plugin/v1beta1/client.go`, `dial`).
pub(super) const DIAL: Duration = Duration::from_secs(10);
/// How long connections to a kubelet that stops may take to end.
const DRAIN: Duration = Duration::from_secs(1);

/// A call of `Register`, and what came of dialling back before it was answered.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) request: RegisterRequest,
    /// The plugin's folder joined with the endpoint, as the kubelet does it.
    pub(super) socket: PathBuf,
    /// The connection, and the options that the plugin serves on it; or what kept the kubelet from connecting.
    pub(super) answered: Result<(Dialled, Result<DevicePluginOptions, Status>), DialError>,
}

/// A kubelet that listens, or one that is down.
pub(super) struct Kubelet {
    folder: PathBuf,
    patience: Duration,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    server: Option<Listening>,
}

struct Listening {
    stop: signal::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kubelet {
    /// A kubelet that is down, with this plugin folder.
    pub(super) fn new(folder: &Path, patience: Duration) -> Self {
        Self { folder: folder.to_owned(), patience, arrivals: mpsc::unbounded_channel().1, server: None }
    }

    /// Listens on a new `kubelet.sock`.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let listener = UnixListener::bind(self.folder.join(KUBELET_SOCKET))?;
        let (stop, mut stopped) = signal::channel(false);
        // A channel of its own: a registration with the kubelet before this one is none with this one.
        let (told, arrivals) = mpsc::unbounded_channel();
        self.arrivals = arrivals;
        let registrar = Registrar { folder: self.folder.clone(), patience: self.patience.min(DIAL), told };
        let task = tokio::spawn(async move {
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let service = RegistrationServer::new(registrar);
            // Its end is the end of the kubelet; there is nobody to tell of an error.
            let _ = Server::builder().add_service(service).serve_with_incoming_shutdown(incoming(listener), stop).await;
        });
        self.server = Some(Listening { stop, task });
        Ok(())
    }

    /// Stops listening and ends the connections of plugins that have registered, as a kubelet that exits.
    pub(super) async fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let _ = server.stop.send(true);
        if timeout(DRAIN, &mut server.task).await.is_err() {
            server.task.abort();
        }
    }

    /// Removes what a starting kubelet removes: everything but its checkpoint
    /// (`pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go`, `removeContents`).
    pub(super) fn wipe(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() == KUBELET_CHECKPOINT {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            match removed {
                // The plugin may remove its own at the same time.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The next registration, if one has come.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }
}

/// The connections of plugins. Those of older grpc-go give the path of the socket as `:authority`.
fn incoming(
    listener: UnixListener,
) -> impl futures_util::Stream<Item = Result<Lenient<tokio::net::UnixStream>, Infallible>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Lenient::new(stream)), listener)),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    })
}

struct Registrar {
    folder: PathBuf,
    patience: Duration,
    told: mpsc::UnboundedSender<Arrival>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        // filepath.Join: an absolute endpoint is taken to be inside the folder.
        let socket = self.folder.join(request.endpoint.trim_start_matches('/'));
        let (patience, told) = (self.patience, self.told.clone());
        // A Go handler runs to its end even when the caller has given up; a tonic handler is dropped.
        let work = tokio::spawn(async move {
            let answered = match dial(&socket, patience, Window::Usual).await {
                Ok(dialled) => {
                    let options = dialled.options(patience).await;
                    Ok((dialled, options))
                }
                Err(error) => Err(error),
            };
            let _ = told.send(Arrival { request, socket, answered });
        });
        work.await.map_err(|_| Status::unavailable("the kubelet is stopping"))?;
        Ok(Response::new(Empty {}))
    }
}
