//! The gRPC service of one resource.
//!
//! Written by hand where tonic would generate it: generated code reads every id into a text of its own and builds every
//! message anew. Here requests are read where they lie, and answers are made of bytes that were prepared at discovery.
//! HTTP/2 itself, its connections and its flow control are tonic's.

use super::{
    allocate,
    desk::Desk,
    grpc, list_and_watch, pre_start,
    running::{Calls, OpenStream},
};
use crate::board::{Refused, Served};
use futures_util::Stream;
use prost::{Message, bytes::Bytes};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{Notify, watch};
use tonic::{Status, body::Body, codegen::http, server::NamedService, transport::server::UdsConnectInfo};
use tower::Service as Tower;
use tracing::{debug, warn};
use vfiod_core::allocator::{self, Resource, wire};
use vfiod_proto::deviceplugin::{
    DevicePluginOptions, PreStartContainerRequest, PreStartContainerResponse, device_plugin_server::SERVICE_NAME,
};

/// The options of every endpoint: the fence is always asked for, and advice is always given.
pub(super) const OPTIONS: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };

/// Serves one resource.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

/// What the service of one resource needs.
pub(super) struct Inner {
    pub(super) resource: Arc<Resource>,
    /// Where the calls are noted.
    pub(super) served: Arc<Served>,
    pub(super) desk: Desk,
    /// Woken by the resource's bell.
    pub(super) rung: Arc<Notify>,
    /// Set when the endpoint ends its streams.
    pub(super) stop: watch::Receiver<bool>,
    /// Told when the kubelet's stream opens and ends.
    pub(super) calls: Arc<Calls>,
}

impl From<Inner> for Service {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl NamedService for Service {
    const NAME: &'static str = SERVICE_NAME;
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Tower<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let request = match grpc::read(&mut body).await {
                Ok(request) => request,
                Err(status) => return Ok(status.into_http()),
            };
            let method = parts.uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
            Ok(match method {
                Some("/Allocate") => grpc::answer(inner.allocate(&request)),
                Some("/GetPreferredAllocation") => grpc::answer(inner.preferred(&request)),
                Some("/GetDevicePluginOptions") => grpc::answer(Ok(encoded(&OPTIONS))),
                Some("/PreStartContainer") => grpc::answer(inner.pre_start(request).await),
                Some("/ListAndWatch") => {
                    let caller = parts.extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
                    grpc::answers(Box::pin(inner.lists(inner.calls.stream_opens(caller))))
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A message for which nothing was prepared.
fn encoded(message: &impl Message) -> Vec<u8> {
    let mut encoded = grpc::message(message.encoded_len());
    message.encode_raw(&mut encoded);
    encoded
}

impl Inner {
    fn lists(&self, open: Option<OpenStream>) -> impl Stream<Item = VecDeque<Bytes>> + Send + 'static {
        let (served, rung) = (Arc::clone(&self.served), Arc::clone(&self.rung));
        list_and_watch::stream(served, rung, self.desk.clone(), self.stop.clone(), open)
    }

    fn preferred(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        let now = self.desk.clock.now();
        let (mut answer, mut container) = (grpc::message(256), Vec::with_capacity(256));
        for wish in wire::preferred_requests(request).map_err(allocate::malformed)? {
            container.clear();
            self.resource.prefer_encoded(wish, now, &mut container).map_err(|error| allocate::not_preferred(&error))?;
            wire::put_field(&mut answer, 1, &container);
        }
        self.served.preferred.one();
        self.desk.board.preferred.record(self.desk.clock.now().saturating_sub(now));
        Ok(answer)
    }

    fn allocate(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        let now = self.desk.clock.now();
        let requests = wire::allocate_request(request).map_err(|error| {
            self.served.refused(Refused::Malformed);
            allocate::malformed(error)
        })?;
        let grants = self.desk.register.grant(&self.resource, &requests, now).map_err(|refusal| {
            self.served.refused(Refused::from(&refusal));
            warn!(resource = %self.resource.name(), "Allocate refused: {refusal}");
            allocate::refused(&refusal)
        })?;
        self.desk.tell_of_grants();
        let mut answer = grpc::message(1024);
        allocator::put_allocate_response(&mut answer, &self.resource, &grants);
        for request in requests {
            debug!(resource = %self.resource.name(), devices = request.join(","), "allocated");
        }
        self.served.allocations.one();
        self.served.allocated_devices.add(grants.iter().map(|grant| grant.slots.len() as u64).sum());
        self.desk.board.allocate.record(self.desk.clock.now().saturating_sub(now));
        Ok(answer)
    }

    async fn pre_start(&self, request: Bytes) -> Result<Vec<u8>, Status> {
        let request = PreStartContainerRequest::decode(request)
            .map_err(|error| Status::invalid_argument(format!("the request cannot be read: {error}")))?;
        let ids = request.devices_ids;
        match pre_start::pre_start(&self.desk, &self.resource, &ids).await {
            Ok(()) => {
                self.served.starts.one();
                Ok(encoded(&PreStartContainerResponse {}))
            }
            Err(status) => {
                self.served.start_refusals.one();
                warn!(resource = %self.resource.name(), devices = ids.join(","), "PreStartContainer refused: {}", status.message());
                Err(status)
            }
        }
    }
}
