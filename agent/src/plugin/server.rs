//! The gRPC service of one resource.

use super::{allocate, desk::Desk, list_and_watch, pre_start, running::Calls};
use futures_util::Stream;
use std::{pin::Pin, sync::Arc};
use tokio::sync::{Notify, watch};
use tonic::{Request, Response, Status, transport::server::UdsConnectInfo};
use tracing::{info, warn};
use vfiod_core::allocator::{Resource, Wish};
use vfiod_proto::deviceplugin::{
    AllocateRequest, AllocateResponse, ContainerPreferredAllocationResponse, DevicePluginOptions, Empty,
    ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse, PreferredAllocationRequest,
    PreferredAllocationResponse, device_plugin_server::DevicePlugin,
};

/// The options of every endpoint: the fence is always asked for, and advice is always given.
pub(super) const OPTIONS: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };

/// Serves one resource.
pub(super) struct Service {
    pub(super) resource: Arc<Resource>,
    pub(super) desk: Desk,
    /// Woken by the resource's bell.
    pub(super) rung: Arc<Notify>,
    /// Set when the endpoint ends its streams.
    pub(super) stop: watch::Receiver<bool>,
    /// Told when the kubelet's stream opens and ends.
    pub(super) calls: Arc<Calls>,
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    async fn get_device_plugin_options(&self, _: Request<Empty>) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(OPTIONS))
    }

    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn list_and_watch(&self, request: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let open = self.calls.stream_opens(caller);
        let (resource, rung) = (Arc::clone(&self.resource), Arc::clone(&self.rung));
        let stream = list_and_watch::stream(resource, rung, self.desk.clock, self.stop.clone(), open);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let now = self.desk.clock.now();
        let mut container_responses = Vec::new();
        for wish in &request.get_ref().container_requests {
            let size = usize::try_from(wish.allocation_size).unwrap_or_default();
            let wish = Wish { available: &wish.available_device_i_ds, required: &wish.must_include_device_i_ds, size };
            let device_i_ds = self.resource.prefer(wish, now).map_err(|error| allocate::not_preferred(&error))?;
            container_responses.push(ContainerPreferredAllocationResponse { device_i_ds });
        }
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Result<Response<AllocateResponse>, Status> {
        let requests: Vec<&Vec<String>> =
            request.get_ref().container_requests.iter().map(|container| &container.devices_ids).collect();
        let grants = self.desk.register.grant(&self.resource, &requests, self.desk.clock.now()).map_err(|refusal| {
            warn!(resource = %self.resource.name(), "Allocate refused: {refusal}");
            allocate::refused(&refusal)
        })?;
        self.desk.granted.notify_one();
        let container_responses = grants.iter().map(|grant| allocate::response(&self.resource, grant)).collect();
        for request in requests {
            info!(resource = %self.resource.name(), devices = request.join(","), "allocated");
        }
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        let ids = &request.get_ref().devices_ids;
        match pre_start::pre_start(&self.desk, &self.resource, ids).await {
            Ok(()) => Ok(Response::new(PreStartContainerResponse {})),
            Err(status) => {
                warn!(resource = %self.resource.name(), devices = ids.join(","), "PreStartContainer refused: {}", status.message());
                Err(status)
            }
        }
    }
}
