//! A plugin called directly, without a kubelet's judgement: for bad input, and for plugins under test alone.

mod authority;

use std::path::Path;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Status, Streaming};
use vfiod_proto::deviceplugin as api;
use vfiod_proto::deviceplugin::device_plugin_client::DevicePluginClient;

use super::builder::Authority;
use super::client::dial;
pub use authority::{Answer, call_with_authority};

/// A connection to a plugin's socket.
#[derive(Debug, Clone)]
pub struct Plugin {
    client: DevicePluginClient<Channel>,
}

impl Plugin {
    /// Connects as the kubelet does, trying until `within` is over.
    ///
    /// # Errors
    /// When nothing listens on the socket by then.
    pub async fn dial(socket: impl AsRef<Path>, within: Duration) -> Result<Self, Status> {
        Self::dial_with(socket, Authority::Localhost, within).await
    }

    /// Connects as a kubelet that gives this `:authority`.
    ///
    /// # Errors
    /// When nothing listens on the socket by then.
    pub async fn dial_with(socket: impl AsRef<Path>, authority: Authority, within: Duration) -> Result<Self, Status> {
        let channel = dial(socket.as_ref(), authority, within).await?;
        // Unlike a kubelet, it takes messages of any size: a test may want to see how large they are.
        Ok(Self { client: DevicePluginClient::new(channel).max_decoding_message_size(usize::MAX) })
    }

    /// `GetDevicePluginOptions`
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn options(&self) -> Result<api::DevicePluginOptions, Status> {
        Ok(self.client.clone().get_device_plugin_options(api::Empty {}).await?.into_inner())
    }

    /// `ListAndWatch`
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn list_and_watch(&self) -> Result<Streaming<api::ListAndWatchResponse>, Status> {
        Ok(self.client.clone().list_and_watch(api::Empty {}).await?.into_inner())
    }

    /// `Allocate` with one request for each list of ids.
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn allocate(
        &self,
        containers: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<Vec<api::ContainerAllocateResponse>, Status> {
        let container_requests =
            containers.into_iter().map(|devices_ids| api::ContainerAllocateRequest { devices_ids }).collect();
        let answer = self.client.clone().allocate(api::AllocateRequest { container_requests }).await?;
        Ok(answer.into_inner().container_responses)
    }

    /// `GetPreferredAllocation` for one container.
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn preferred_allocation(
        &self,
        available: Vec<String>,
        must_include: Vec<String>,
        size: i32,
    ) -> Result<Vec<String>, Status> {
        let request = api::PreferredAllocationRequest {
            container_requests: vec![api::ContainerPreferredAllocationRequest {
                available_device_i_ds: available,
                must_include_device_i_ds: must_include,
                allocation_size: size,
            }],
        };
        let answer = self.client.clone().get_preferred_allocation(request).await?.into_inner();
        Ok(answer.container_responses.into_iter().next().map(|first| first.device_i_ds).unwrap_or_default())
    }

    /// `PreStartContainer`
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn pre_start(&self, ids: Vec<String>) -> Result<(), Status> {
        let request = api::PreStartContainerRequest { devices_ids: ids };
        self.client.clone().pre_start_container(request).await.map(|_| ())
    }
}
