//! The kubelet's side of a connection to a plugin (plugin/v1beta1/client.go, endpoint.go).

mod authority;
mod dial;
mod endpoint;
mod stream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Response, Status};
use vfiod_proto::KUBELET_RECEIVE_LIMIT;
use vfiod_proto::deviceplugin::device_plugin_client::DevicePluginClient;

use super::builder::{Authority, KubeletVersion};

pub(super) use dial::dial;
pub(super) use endpoint::Endpoint;
pub(super) use stream::{connect, describe, disconnect};

/// A connection to the plugin that registered a resource with a socket.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) resource: String,
    pub(super) socket: PathBuf,
    connection: Mutex<Option<DevicePluginClient<Channel>>>,
    closed: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

impl Client {
    pub(super) fn new(resource: &str, socket: PathBuf) -> Arc<Self> {
        let ended = watch::channel(false).0;
        let closed = watch::channel(false).0;
        Arc::new(Self { resource: resource.to_owned(), socket, connection: Mutex::new(None), closed, ended })
    }

    async fn connect(&self, authority: Authority, timeout: Duration) -> Result<(), Status> {
        let channel = dial(&self.socket, authority, timeout).await?;
        let client = DevicePluginClient::new(channel).max_decoding_message_size(KUBELET_RECEIVE_LIMIT);
        *self.lock() = Some(client);
        Ok(())
    }

    /// Closes the connection at once; calls in flight fail (`grpc.ClientConn.Close`).
    fn close(&self) {
        *self.lock() = None;
        self.closed.send_replace(true);
    }

    async fn until_closed(&self) {
        // The sender lives in self, so waiting can only end with `true`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Waits until the client's stream is over and the kubelet has done what follows from that.
    pub(super) async fn until_ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    async fn call<T, F, R>(&self, rpc: F) -> Result<T, Status>
    where
        F: FnOnce(DevicePluginClient<Channel>) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(client) = self.lock().clone() else {
            return Err(Status::cancelled("grpc: the client connection is closing"));
        };
        tokio::select! {
            answer = rpc(client) => Ok(answer?.into_inner()),
            () = self.until_closed() => Err(Status::cancelled("grpc: the client connection is closing")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<DevicePluginClient<Channel>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients of the registration server (plugin/v1beta1/handler.go): one a name, or, with kubernetes#135437, any
/// number a name, told apart by socket path.
#[derive(Debug, Default)]
pub(super) struct Clients(BTreeMap<String, Vec<Arc<Client>>>);

impl Clients {
    /// `registerClient`
    pub(super) fn register(&mut self, version: KubeletVersion, client: Arc<Client>) {
        let clients = self.0.entry(client.resource.clone()).or_default();
        if version == KubeletVersion::V1_32 {
            clients.clear();
        }
        clients.push(client);
    }

    /// `deregisterClient`: all clients of the name, or all with this socket path.
    pub(super) fn deregister(&mut self, version: KubeletVersion, name: &str, socket: &Path) {
        match version {
            KubeletVersion::V1_32 => {
                self.0.remove(name);
            }
            KubeletVersion::Newer => {
                if let Some(clients) = self.0.get_mut(name) {
                    clients.retain(|client| client.socket != socket);
                }
            }
        }
    }

    /// `getClient`
    pub(super) fn get(&self, version: KubeletVersion, name: &str, socket: &Path) -> Option<Arc<Client>> {
        let mut clients = self.0.get(name)?.iter();
        clients.find(|client| version == KubeletVersion::V1_32 || client.socket == socket).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.0.values().flatten().cloned().collect()
    }
}
