//! The five calls.

use super::{answers, cards::Cards, changes::Changes, fault::Fault, feed::feed};
use futures_util::Stream;
use std::{
    collections::HashSet,
    pin::Pin,
    process::exit,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, watch};
use tonic::{Request, Response, Status};
pub use vfiod_proto::deviceplugin as api;
use vfiod_proto::deviceplugin::device_plugin_server::DevicePlugin;

/// The plugin, whatever it is served on.
#[derive(Debug)]
pub struct Plugin {
    pub cards: Cards,
    pub fault: Fault,
    pub changes: Changes,
    /// Streams that were ever opened, and those that are open.
    pub opened: AtomicUsize,
    pub open: AtomicUsize,
    /// Streams whose last list is not written yet.
    pub writing: watch::Sender<usize>,
    pub stream_ended: Notify,
    pub stop: watch::Sender<bool>,
    /// Which registration it is: the streams of one end before the next one.
    pub registration: watch::Sender<usize>,
    pub kubelet_restarts: AtomicUsize,
    given: Mutex<HashSet<String>>,
}

/// What it serves.
pub const OPTIONS: api::DevicePluginOptions =
    api::DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };

impl Plugin {
    pub fn new(cards: Cards, fault: Fault, changes: Changes) -> Self {
        Self {
            cards,
            fault,
            changes,
            opened: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            writing: watch::channel(0).0,
            stream_ended: Notify::new(),
            stop: watch::channel(false).0,
            registration: watch::channel(0).0,
            kubelet_restarts: AtomicUsize::new(0),
            given: Mutex::default(),
        }
    }

    /// Whether any of these was given before; they are from now on.
    fn given_before(&self, ids: &[String]) -> bool {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter(|id| !given.insert((*id).clone())).count() > 0
    }
}

/// The plugin as a service.
pub struct Served(pub Arc<Plugin>);

#[tonic::async_trait]
impl DevicePlugin for Served {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        if self.0.fault.is("options.served") {
            return Err(Status::unimplemented("no options"));
        }
        Ok(Response::new(OPTIONS))
    }

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        Ok(Response::new(Box::pin(feed(Arc::clone(&self.0)))))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        if self.0.fault.is("preferred.served") {
            return Err(Status::unimplemented("no preference"));
        }
        let requests = request.into_inner().container_requests;
        let container_responses = requests.iter().map(|wish| answers::preferred(&self.0.fault, wish)).collect();
        Ok(Response::new(api::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        let plugin = &self.0;
        if plugin.fault.is("stop.not-by-itself") && plugin.open.load(Ordering::Relaxed) > 1 {
            exit(3);
        }
        if plugin.fault.is("slow.allocate") {
            // As if one lock were held while a list is written.
            let _ = plugin.writing.subscribe().wait_for(|writing| *writing == 0).await;
        }
        let mut requests: Vec<Vec<String>> =
            request.into_inner().container_requests.into_iter().map(|container| container.devices_ids).collect();
        let all: Vec<String> = requests.concat();
        if plugin.fault.is("allocate.again") && plugin.given_before(&all) {
            return Err(Status::failed_precondition(format!("{} is in use", all.join(", "))));
        }
        if plugin.fault.is("allocate.apart") {
            requests.iter_mut().for_each(|ids| ids.clone_from(&all));
        }
        if plugin.fault.is("allocate.per-container") {
            requests.truncate(1);
        }
        let container_responses =
            requests.iter().map(|ids| answers::allocated(plugin, ids)).collect::<Result<Vec<_>, _>>()?;
        Ok(Response::new(api::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        if self.0.fault.is("pre-start.starts") {
            return Err(Status::unavailable("not today"));
        }
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}
