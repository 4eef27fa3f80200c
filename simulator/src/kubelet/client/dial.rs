//! Dialling a plugin back.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::authority::exchange;
use crate::kubelet::builder::Authority;

/// The pause of grpc-go between two attempts (`google.golang.org/grpc/backoff`, `DefaultConfig.BaseDelay`).
const PAUSE: Duration = Duration::from_secs(1);

/// Connects to a plugin's socket as the kubelet does: it tries until `timeout` is over (plugin/v1beta1/client.go, `dial`).
/// The channel never reconnects.
pub(in crate::kubelet) async fn dial(
    socket: &Path,
    authority: Authority,
    timeout: Duration,
) -> Result<Channel, Status> {
    let deadline = Instant::now() + timeout;
    let stream = loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(error) => error,
        };
        tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        if Instant::now() >= deadline {
            let socket = socket.display();
            return Err(Status::unknown(format!(
                "failed to dial device plugin at {socket}: context deadline exceeded; the last attempt: {error}"
            )));
        }
    };
    let connected = match authority {
        Authority::Localhost => over(stream).await,
        other => over(exchange(stream, other, &socket.to_string_lossy())).await,
    };
    connected.map_err(|error| Status::unknown(format!("failed to dial device plugin: {error}")))
}

async fn over<S>(stream: S) -> Result<Channel, tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = Some(TokioIo::new(stream));
    let connector = service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the plugin closed the connection")) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}
