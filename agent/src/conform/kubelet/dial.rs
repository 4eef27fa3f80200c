//! Calling a plugin as the kubelet does.

use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use vfiod_proto::deviceplugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse, ContainerPreferredAllocationRequest,
    DevicePluginOptions, Empty, PreStartContainerRequest, PreferredAllocationRequest,
    device_plugin_client::DevicePluginClient,
};

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// The bytes that a kubelet which does not read has room for, on each stream.
const NARROW: u32 = 256;
/// The bytes that it has room for on all streams together: calls get through however many streams are not read.
const WIDE: u32 = 16 * 1024 * 1024;

/// How much a plugin may send before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::conform) enum Window {
    /// What HTTP/2 gives.
    Usual,
    /// Next to nothing on each stream: a list that is not read fills it.
    Narrow,
}

/// Why a plugin's socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::conform) enum DialError {
    #[error("{socket}: no such file")]
    Missing { socket: PathBuf },
    #[error("{socket}: this is not a socket")]
    NoSocket { socket: PathBuf },
    #[error("{socket}: nobody listens on it ({source})")]
    NobodyListens { socket: PathBuf, source: io::Error },
    #[error("{socket}: cannot be connected to ({source})")]
    Refused { socket: PathBuf, source: io::Error },
    #[error("{socket}: the connection cannot be used ({reason})")]
    Connection { socket: PathBuf, reason: String },
}

/// A connection to a plugin.
#[derive(Debug, Clone)]
pub(in crate::conform) struct Dialled {
    pub(super) client: DevicePluginClient<Channel>,
}

/// Connects, trying until `patience` is over. The channel never connects again.
pub(in crate::conform) async fn dial(socket: &Path, patience: Duration, window: Window) -> Result<Dialled, DialError> {
    let deadline = Instant::now() + patience;
    let stream = loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(why(socket, error));
        }
        sleep(PAUSE).await;
    };
    let mut stream = Some(TokioIo::new(stream));
    let connector = service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the plugin closed the connection")) }
    });
    let mut endpoint = Endpoint::from_static("http://localhost");
    if window == Window::Narrow {
        endpoint = endpoint.initial_stream_window_size(NARROW).initial_connection_window_size(WIDE);
    }
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| DialError::Connection { socket: socket.to_owned(), reason: innermost(&error) })?;
    // Unlike a kubelet it takes messages of any size: how large they are is one of the checks.
    Ok(Dialled { client: DevicePluginClient::new(channel).max_decoding_message_size(usize::MAX) })
}

fn why(socket: &Path, source: io::Error) -> DialError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => DialError::Missing { socket },
        io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt as _;
            match std::fs::metadata(&socket) {
                Ok(meta) if !meta.file_type().is_socket() => DialError::NoSocket { socket },
                _ => DialError::NobodyListens { socket, source },
            }
        }
        _ => DialError::Refused { socket, source },
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A status as it is told.
pub(in crate::conform) fn told(status: &Status) -> String {
    if status.message().is_empty() {
        return format!("{:?}", status.code());
    }
    format!("{:?}: {}", status.code(), status.message())
}

impl Dialled {
    /// `GetDevicePluginOptions`
    pub(in crate::conform) async fn options(&self, patience: Duration) -> Result<DevicePluginOptions, Status> {
        let mut client = self.client.clone();
        within(patience, async move { client.get_device_plugin_options(Empty {}).await }).await
    }

    /// `Allocate`, one request for each list of ids.
    pub(in crate::conform) async fn allocate(
        &self,
        containers: &[&[&str]],
        patience: Duration,
    ) -> Result<Vec<ContainerAllocateResponse>, Status> {
        let container_requests =
            containers.iter().map(|ids| ContainerAllocateRequest { devices_ids: owned(ids) }).collect();
        let mut client = self.client.clone();
        let answer =
            within(patience, async move { client.allocate(AllocateRequest { container_requests }).await }).await?;
        Ok(answer.container_responses)
    }

    /// `GetPreferredAllocation` for one container.
    pub(in crate::conform) async fn preferred(
        &self,
        available: &[&str],
        required: &[&str],
        size: usize,
        patience: Duration,
    ) -> Result<Vec<String>, Status> {
        let request = PreferredAllocationRequest {
            container_requests: vec![ContainerPreferredAllocationRequest {
                available_device_i_ds: owned(available),
                must_include_device_i_ds: owned(required),
                allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
            }],
        };
        let mut client = self.client.clone();
        let answer = within(patience, async move { client.get_preferred_allocation(request).await }).await?;
        Ok(answer.container_responses.into_iter().next().map(|first| first.device_i_ds).unwrap_or_default())
    }

    /// `PreStartContainer`
    pub(in crate::conform) async fn pre_start(&self, ids: &[&str], patience: Duration) -> Result<(), Status> {
        let request = PreStartContainerRequest { devices_ids: owned(ids) };
        let mut client = self.client.clone();
        within(patience, async move { client.pre_start_container(request).await }).await.map(|_| ())
    }
}

async fn within<T>(patience: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(patience, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::new(Code::DeadlineExceeded, format!("no answer within {} s", patience.as_secs_f32()))),
    }
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
