//! Registration: telling the kubelet on which socket a resource is served.

use super::{
    call::{CallError, call},
    server::OPTIONS,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::{error::Error, io, os::unix::net, path::Path, time::Duration};
use tokio::{
    net::{UnixStream, unix::UCred},
    time::timeout,
};
use vfiod_core::permit::ResourceName;
use vfiod_proto::{DEVICE_PLUGIN_VERSION, deviceplugin::RegisterRequest};

/// The path of the call; the name of the host is what kubelets of today give, too.
const REGISTER: &str = "http://localhost/v1beta1.Registration/Register";

/// The kubelet dials back for up to 10 s before it answers (kubelet: `pkg/kubelet/cm/devicemanager/plugin/v1beta1/client.go`).
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a resource could not be registered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    /// Nobody listens on the kubelet's socket: it was killed, and the file is still there.
    #[error("no kubelet answers on {socket}: {reason}")]
    Nobody { socket: String, reason: String },
    /// Somebody listens there and does not speak the kubelet's protocol, or it may not be connected to.
    #[error("no kubelet answers on {socket}: {reason}")]
    NoKubelet { socket: String, reason: String },
    /// The kubelet refused.
    #[error("the kubelet refused the registration: {message}{}", hint(message))]
    Refused { message: String },
    /// The kubelet took too long.
    #[error("the kubelet did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// The kubelet has dialled back and met an error of HTTP/2 itself.
fn hint(message: &str) -> &'static str {
    if message.contains("PROTOCOL_ERROR") {
        " (it speaks HTTP/2 in a way that vfiod does not understand; all kubelets since 1.10 should be understood: please report this with the kubelet's version)"
    } else {
        ""
    }
}

/// A line to a kubelet on which nothing was said yet.
///
/// A kubelet that was killed leaves its socket file behind, and that it refuses is the only sign. So the line comes before anything is made
/// that would have to be taken down again; and since a kubelet wipes its folder before it listens, what is made
/// afterwards stays.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
    socket: String,
}

impl Line {
    /// Calls who listens on the kubelet's socket; never waits.
    pub(super) fn to(path: &Path) -> Result<Self, RegisterError> {
        let socket = path.display().to_string();
        match stream_to(path) {
            Ok(stream) => Ok(Self { stream, socket }),
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                Err(RegisterError::Nobody { socket, reason: error.to_string() })
            }
            Err(error) => Err(RegisterError::NoKubelet { socket, reason: error.to_string() }),
        }
    }

    /// Who listens there.
    pub(super) fn listener(&self) -> Option<UCred> {
        self.stream.peer_cred().ok()
    }

    /// Registers `resource`, served on the socket file `endpoint` of the kubelet's folder.
    pub(super) async fn register(self, endpoint: String, resource: &ResourceName) -> Result<(), RegisterError> {
        let request = RegisterRequest {
            version: DEVICE_PLUGIN_VERSION.to_owned(),
            endpoint,
            resource_name: resource.as_str().to_owned(),
            options: Some(OPTIONS),
        };
        match timeout(PATIENCE, call(self.stream, REGISTER, &request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(CallError::Refused(status))) => Err(RegisterError::Refused { message: status.message().to_owned() }),
            Ok(Err(CallError::Broken(error))) => {
                Err(RegisterError::NoKubelet { socket: self.socket, reason: innermost(&error) })
            }
            Err(_) => Err(RegisterError::Timeout),
        }
    }
}

/// Connects at once or not at all: to a socket of this host there is nothing to wait for, where tokio waits for its turn.
fn stream_to(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    UnixStream::from_std(net::UnixStream::from(socket))
}

/// h2 says "connection error"; its source knows which.
fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
