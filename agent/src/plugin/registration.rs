//! Registration: telling the kubelet on which socket a resource is served.

use super::{running::Calls, server::OPTIONS};
use hyper_util::rt::TokioIo;
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::{net::UnixStream, time::timeout};
use tonic::{Request, transport::Endpoint};
use tower::service_fn;
use vfiod_core::permit::ResourceName;
use vfiod_proto::{
    DEVICE_PLUGIN_VERSION,
    deviceplugin::{RegisterRequest, registration_client::RegistrationClient},
};

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

/// Registers `resource`, served on the socket file `endpoint` of the kubelet's folder. `calls` is told who the kubelet is
/// before it can call.
pub(super) async fn register(
    socket: &Path,
    endpoint: &str,
    resource: &ResourceName,
    calls: &Arc<Calls>,
) -> Result<(), RegisterError> {
    timeout(PATIENCE, call(socket, endpoint, resource, calls)).await.unwrap_or(Err(RegisterError::Timeout))
}

async fn call(socket: &Path, endpoint: &str, resource: &ResourceName, calls: &Arc<Calls>) -> Result<(), RegisterError> {
    let path = socket.to_owned();
    let calls = Arc::clone(calls);
    let connect = service_fn(move |_| {
        let (path, calls) = (path.clone(), Arc::clone(&calls));
        async move {
            let stream = UnixStream::connect(path).await?;
            calls.kubelet_is(stream.peer_cred().ok());
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.map_err(|error| {
        let (socket, reason) = (socket.display().to_string(), innermost(&error));
        if is_nobody(&error) {
            RegisterError::Nobody { socket, reason }
        } else {
            RegisterError::NoKubelet { socket, reason }
        }
    })?;
    let request = RegisterRequest {
        version: DEVICE_PLUGIN_VERSION.to_owned(),
        endpoint: endpoint.to_owned(),
        resource_name: resource.as_str().to_owned(),
        options: Some(OPTIONS),
    };
    RegistrationClient::new(channel)
        .register(Request::new(request))
        .await
        .map(|_| ())
        .map_err(|status| RegisterError::Refused { message: status.message().to_owned() })
}

/// Whether no process listens on the socket.
fn is_nobody(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
        || error.source().is_some_and(is_nobody)
}

/// tonic says "transport error"; its source knows which.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
