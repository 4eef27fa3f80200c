//! What a plugin offers, and whether it may be called (endpoint.go).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::{Request, Status};
use vfiod_proto::deviceplugin as api;

use super::Client;

/// The endpoint of a resource: shared by all who hold it.
#[derive(Debug, Clone)]
pub(in crate::kubelet) struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None after a restart, until the plugin registers again.
    client: Option<Arc<Client>>,
    options: api::DevicePluginOptions,
    stopped: Mutex<Option<Instant>>,
}

impl Endpoint {
    pub(super) fn new(client: Arc<Client>, options: api::DevicePluginOptions) -> Self {
        Self(Arc::new(Inner { client: Some(client), options, stopped: Mutex::new(None) }))
    }

    /// endpoint.go, `newStoppedEndpointImpl`
    pub(in crate::kubelet) fn stopped() -> Self {
        let options = api::DevicePluginOptions::default();
        Self(Arc::new(Inner { client: None, options, stopped: Mutex::new(Some(Instant::now())) }))
    }

    pub(super) fn stop(&self) {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn stop_time(&self) -> Option<Instant> {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::kubelet) fn is_stopped(&self) -> bool {
        self.stop_time().is_some()
    }

    /// endpoint.go, `stopGracePeriodExpired`
    pub(in crate::kubelet) fn expired(&self, grace: Duration) -> bool {
        self.stop_time().is_some_and(|stopped| stopped.elapsed() > grace)
    }

    pub(super) fn is_of(&self, client: &Arc<Client>) -> bool {
        self.0.client.as_ref().is_some_and(|own| Arc::ptr_eq(own, client))
    }

    pub(super) fn client(&self) -> Option<&Arc<Client>> {
        self.0.client.as_ref()
    }

    pub(in crate::kubelet) fn wants_preferred_allocation(&self) -> bool {
        self.0.options.get_preferred_allocation_available
    }

    pub(in crate::kubelet) fn wants_pre_start(&self) -> bool {
        self.0.options.pre_start_required
    }

    /// `getPreferredAllocation`, without a deadline. The ids that the plugin prefers; none when it gave no answer.
    pub(in crate::kubelet) async fn preferred_allocation(
        &self,
        available: Vec<String>,
        must_include: Vec<String>,
        size: usize,
    ) -> Result<Vec<String>, Status> {
        let request = api::PreferredAllocationRequest {
            container_requests: vec![api::ContainerPreferredAllocationRequest {
                available_device_i_ds: available,
                must_include_device_i_ds: must_include,
                allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
            }],
        };
        let answer =
            self.live()?.call(|mut client| async move { client.get_preferred_allocation(request).await }).await?;
        Ok(answer.container_responses.into_iter().next().map(|first| first.device_i_ds).unwrap_or_default())
    }

    /// `allocate`, without a deadline, one container a call.
    pub(in crate::kubelet) async fn allocate(&self, ids: Vec<String>) -> Result<api::AllocateResponse, Status> {
        let request =
            api::AllocateRequest { container_requests: vec![api::ContainerAllocateRequest { devices_ids: ids }] };
        self.live()?.call(|mut client| async move { client.allocate(request).await }).await
    }

    /// `preStartContainer`, with a deadline that the plugin is told.
    pub(in crate::kubelet) async fn pre_start(&self, ids: Vec<String>, deadline: Duration) -> Result<(), Status> {
        let mut request = Request::new(api::PreStartContainerRequest { devices_ids: ids });
        request.set_timeout(deadline);
        let begun = Instant::now();
        let call = self.live()?.call(|mut client| async move { client.pre_start_container(request).await });
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if begun.elapsed() < deadline => Err(status),
            // tonic's own timer says Cancelled; grpc-go says DeadlineExceeded.
            _ => Err(Status::deadline_exceeded("context deadline exceeded")),
        }
    }

    fn live(&self) -> Result<&Client, Status> {
        match &self.0.client {
            Some(client) if !self.is_stopped() => Ok(client),
            _ => Err(Status::unknown("endpoint has been stopped: no plugin is connected for the resource")),
        }
    }
}
