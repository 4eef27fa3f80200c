//! The life of a client: connect, `ListAndWatch`, and what its end does to the resource.

use std::sync::Arc;
use std::time::Instant;

use tonic::Status;
use vfiod_proto::deviceplugin as api;

use super::{Client, Endpoint};
use crate::kubelet::builder::KubeletVersion;
use crate::kubelet::state::{Shared, State};

/// Connects to a plugin that registers, asks its options, and follows its stream from then on
/// (plugin/v1beta1/handler.go, `connectClient`).
pub(in crate::kubelet) async fn connect(shared: Arc<Shared>, client: Arc<Client>) -> Result<(), Status> {
    let version = shared.config.version;
    shared.update(|state| state.clients.register(version, Arc::clone(&client)));
    let connected = async {
        client.connect(shared.config.authority, shared.config.dial_timeout).await?;
        let options = client.call(|mut plugin| async move { plugin.get_device_plugin_options(api::Empty {}).await });
        let options = options
            .await
            .map_err(|status| Status::unknown(format!("failed to get device plugin options: {}", describe(&status))))?;
        shared.update(|state| state.plugin_connected(version, &client, options))
    };
    if let Err(status) = connected.await {
        shared.update(|state| state.clients.deregister(version, &client.resource, &client.socket));
        client.close();
        // Nothing of it is left to follow.
        client.ended.send_replace(true);
        return Err(status);
    }
    tokio::spawn(run(shared, client));
    Ok(())
}

/// plugin/v1beta1/handler.go, `runClient`: when the stream ends, the client that the name (or, newer, the name and the
/// socket path) has *by then* is disconnected.
async fn run(shared: Arc<Shared>, client: Arc<Client>) {
    let end = follow(&shared, &client).await;
    tracing::info!(resource = client.resource, socket = %client.socket.display(), end = describe(&end), "ListAndWatch ended");
    let version = shared.config.version;
    let current = shared.read().clients.get(version, &client.resource, &client.socket);
    if let Some(current) = current {
        disconnect(&shared, &current);
    }
    client.ended.send_replace(true);
}

/// plugin/v1beta1/client.go, `Run`
async fn follow(shared: &Shared, client: &Client) -> Status {
    let stream = client.call(|mut plugin| async move { plugin.list_and_watch(api::Empty {}).await });
    let mut stream = match stream.await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = client.until_closed() => return Status::cancelled("the kubelet closed the connection"),
        };
        match message {
            Ok(Some(message)) => {
                let received = Instant::now();
                // Under one lock, so that whoever sees the devices finds the checkpoint written.
                let written = shared.update(|state| {
                    state.take_listing(client, &message, received);
                    state.checkpoint().write(&shared.config.checkpoint_file())
                });
                if let Err(error) = written {
                    tracing::warn!(%error, "the checkpoint could not be written");
                }
            }
            Ok(None) => return Status::ok("EOF"),
            Err(status) => return status,
        }
    }
}

/// plugin/v1beta1/handler.go, `disconnectClient`
pub(in crate::kubelet) fn disconnect(shared: &Shared, client: &Arc<Client>) {
    let version = shared.config.version;
    client.close();
    shared.update(|state| {
        state.clients.deregister(version, &client.resource, &client.socket);
        state.plugin_disconnected(version, client);
    });
}

impl State {
    /// manager.go, `PluginConnected`. With kubernetes#135437 a second endpoint on the same socket path is refused.
    fn plugin_connected(
        &mut self,
        version: KubeletVersion,
        client: &Arc<Client>,
        options: api::DevicePluginOptions,
    ) -> Result<(), Status> {
        let endpoint = Endpoint::new(Arc::clone(client), options);
        if version == KubeletVersion::Newer {
            let store = self.endpoint_store.entry(client.resource.clone()).or_default();
            if store.contains_key(&client.socket) {
                let socket = client.socket.display();
                return Err(Status::unknown(format!("device plugin already connected at {socket}")));
            }
            store.insert(client.socket.clone(), endpoint.clone());
        }
        self.endpoints.insert(client.resource.clone(), endpoint);
        Ok(())
    }

    /// manager.go, `PluginDisconnected`. With kubernetes#135437 only the last endpoint of a resource takes its devices
    /// along; another one is promoted otherwise.
    fn plugin_disconnected(&mut self, version: KubeletVersion, client: &Arc<Client>) {
        if version == KubeletVersion::V1_32 {
            if let Some(endpoint) = self.endpoints.get(&client.resource) {
                endpoint.stop();
                self.mark_unhealthy(&client.resource);
            }
            return;
        }
        let Some(store) = self.endpoint_store.get_mut(&client.resource) else { return };
        let Some(ended) = store.remove(&client.socket) else { return };
        ended.stop();
        match store.values().next().cloned() {
            None => {
                self.endpoint_store.remove(&client.resource);
                self.mark_unhealthy(&client.resource);
            }
            Some(survivor) => {
                let primary = self.endpoints.get(&client.resource);
                if primary.is_none_or(|primary| ended.client().is_none_or(|ended| primary.is_of(ended))) {
                    self.endpoints.insert(client.resource.clone(), survivor);
                }
            }
        }
    }

    fn mark_unhealthy(&mut self, resource: &str) {
        if let Some(known) = self.resources.get_mut(resource) {
            known.mark_unhealthy();
        }
    }
}

/// A status as grpc-go prints it.
pub(in crate::kubelet) fn describe(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}
