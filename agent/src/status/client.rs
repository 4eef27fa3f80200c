//! Asking a running vfiod.

use hyper_util::rt::TokioIo;
use std::{io, path::Path};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use vfiod_proto::status::status_client::StatusClient;

/// A connection to a running vfiod.
pub type Client = StatusClient<Channel>;

/// A host has thousands of devices, and each may be open.
const RECEIVE_LIMIT: usize = 64 * 1024 * 1024;

/// Connects to the vfiod behind `socket`; `None` when none runs there.
///
/// # Errors
/// When the socket is there and cannot be used: no permission, or no socket at all.
pub async fn connect(socket: &Path) -> io::Result<Option<Client>> {
    // Once by hand: its errors tell apart what the channel's do not.
    match UnixStream::connect(socket).await {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let path = socket.to_owned();
    let connect = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await;
    let channel = channel.map_err(io::Error::other)?;
    Ok(Some(StatusClient::new(channel).max_decoding_message_size(RECEIVE_LIMIT)))
}
