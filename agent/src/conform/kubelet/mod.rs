//! The kubelet that is played: its plugin folder, its registration socket, and its calls.
//!
//! It does what the kubelet does and keeps what it would refuse for the report: a plugin that registers a bad version is
//! told so there, and goes on being checked.

mod dial;
mod watch;

use dial::DialError;
pub(super) use dial::{Dialled, Window, dial, told};
pub(super) use watch::{Seen, Stalled, Stream};

use crate::plugin::Lenient;
use futures_util::stream;
use std::{
    convert::Infallible,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot, watch as signal},
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

/// A call of `Register`, which is answered when the plugin was dialled back.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) request: RegisterRequest,
    /// The plugin's folder joined with the endpoint, as the kubelet does it.
    pub(super) socket: PathBuf,
    /// What comes of dialling back.
    pub(super) answered: JoinHandle<Answered>,
}

/// The connection to a plugin, and the options that it serves on it; or what kept the kubelet from connecting.
pub(super) type Answered = Result<(Dialled, Result<DevicePluginOptions, Status>), DialError>;

/// A kubelet that listens, or one that is down.
pub(super) struct Kubelet {
    folder: PathBuf,
    patience: Duration,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    server: Option<Listening>,
    wiped: Vec<OsString>,
}

struct Listening {
    stop: signal::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kubelet {
    /// A kubelet that is down, with this plugin folder.
    pub(super) fn new(folder: &Path, patience: Duration) -> Self {
        Self {
            folder: folder.to_owned(),
            patience,
            arrivals: mpsc::unbounded_channel().1,
            server: None,
            wiped: Vec::new(),
        }
    }

    /// Listens on a new `kubelet.sock`.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let listener = UnixListener::bind(self.folder.join(KUBELET_SOCKET))?;
        let (stop, mut stopped) = signal::channel(false);
        // A channel of its own: a registration with the kubelet before this one is none with this one.
        let (told, arrivals) = mpsc::unbounded_channel();
        self.arrivals = arrivals;
        let registrar = Registrar {
            folder: self.folder.clone(),
            wiped: self.wiped.clone(),
            patience: self.patience.min(DIAL),
            told,
        };
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
    pub(super) fn wipe(&mut self) -> io::Result<()> {
        self.wiped.clear();
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
            self.wiped.push(entry.file_name());
            match removed {
                // The plugin may remove its own at the same time.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// How many registrations have come and were not taken.
    pub(super) fn waiting(&self) -> usize {
        self.arrivals.len()
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
    /// What the kubelet has removed when it started.
    wiped: Vec<OsString>,
    patience: Duration,
    told: mpsc::UnboundedSender<Arrival>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        // filepath.Join: an absolute endpoint is taken to be inside the folder.
        let socket = self.folder.join(request.endpoint.trim_start_matches('/'));
        if self.wiped.iter().any(|name| *name == *request.endpoint) && !socket.exists() {
            // Made before the folder was wiped, and registered after it: the kubelet refuses, and the plugin tries again.
            let socket = socket.display();
            return Err(Status::unknown(format!(
                "failed to dial device plugin at {socket}: no such file or directory"
            )));
        }
        let (patience, path) = (self.patience, socket.clone());
        let (over, answered_too) = oneshot::channel::<()>();
        // A Go handler runs to its end even when the caller has given up; a tonic handler is dropped.
        let answered = tokio::spawn(async move {
            let _over = over;
            let dialled = dial(&path, patience, Window::Usual).await?;
            let options = dialled.options(patience).await;
            Ok((dialled, options))
        });
        let _ = self.told.send(Arrival { request, socket, answered });
        // Nothing is ever said there; it ends with the task.
        let _ = answered_too.await;
        Ok(Response::new(Empty {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use tokio::{io::AsyncWriteExt as _, net::UnixStream};
    use vfiod_proto::DEVICE_PLUGIN_VERSION;

    fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], body].concat()
    }

    /// A header field that is not indexed (RFC 7541, section 6.2.2).
    fn field(name: &str, value: &str) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    }

    #[tokio::test]
    async fn a_plugin_built_on_older_grpc_go_which_gives_the_path_as_authority_can_register() {
        let folder = tempfile::tempdir().unwrap();
        let mut kubelet = Kubelet::new(folder.path(), Duration::from_millis(1));
        kubelet.start().unwrap();
        let request = RegisterRequest {
            version: DEVICE_PLUGIN_VERSION.to_owned(),
            endpoint: "old.sock".to_owned(),
            resource_name: "example.com/old".to_owned(),
            options: None,
        };
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let headers = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/v1beta1.Registration/Register"),
            field(":authority", "/var/lib/kubelet/device-plugins/kubelet.sock"),
            field("content-type", "application/grpc"),
            field("te", "trailers"),
        ]
        .concat();
        let mut stream = UnixStream::connect(folder.path().join(KUBELET_SOCKET)).await.unwrap();
        let call = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(0x4, 0, 0, &[]),
            frame(0x1, 0x4, 1, &headers),
            frame(0x0, 0x1, 1, &[&[0], &length[..], &message].concat()),
        ];
        stream.write_all(&call.concat()).await.unwrap();
        let arrival = timeout(Duration::from_secs(20), kubelet.arrivals.recv()).await.unwrap().unwrap();
        assert_eq!(arrival.request.resource_name, "example.com/old");
    }

    #[tokio::test]
    async fn a_socket_that_was_made_before_the_folder_was_wiped_is_refused_as_the_kubelet_does() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("early.sock"), "").unwrap();
        fs::write(folder.path().join(KUBELET_CHECKPOINT), "").unwrap();
        let mut kubelet = Kubelet::new(folder.path(), Duration::from_millis(1));
        kubelet.wipe().unwrap();
        assert!(folder.path().join(KUBELET_CHECKPOINT).exists(), "the kubelet keeps its checkpoint");
        let (told, mut arrivals) = mpsc::unbounded_channel();
        let registrar = Registrar {
            folder: folder.path().to_owned(),
            wiped: kubelet.wiped,
            patience: Duration::from_millis(1),
            told,
        };
        let request = RegisterRequest { endpoint: "early.sock".to_owned(), ..RegisterRequest::default() };
        assert!(registrar.register(Request::new(request)).await.is_err());
        assert!(arrivals.try_recv().is_err(), "it is no registration");
    }
}
