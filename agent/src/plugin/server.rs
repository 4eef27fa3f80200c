//! The gRPC service of one resource.
//!
//! Written by hand where tonic would generate it: generated code reads every id into a text of its own and builds every
//! message anew. Here requests are read where they lie, and answers are made of bytes that were prepared at discovery.

use super::{
    allocate,
    codec::{Message, Prepared, read},
    desk::Desk,
    list_and_watch, pre_start,
    running::Calls,
};
use crate::board::{Refused, Served};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{Notify, watch};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService},
    transport::server::UdsConnectInfo,
};
use tower::{Service as Tower, service_fn};
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
        let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
        match method {
            Some("/Allocate") => unary(request, move |request| std::future::ready(inner.allocate(request.get_ref()))),
            Some("/GetPreferredAllocation") => {
                unary(request, move |request| std::future::ready(inner.preferred(request.get_ref())))
            }
            Some("/GetDevicePluginOptions") => unary(request, |_| std::future::ready(Ok(Message::of(&OPTIONS)))),
            Some("/PreStartContainer") => {
                unary(request, move |request| Arc::clone(&inner).pre_start(request.into_inner()))
            }
            Some("/ListAndWatch") => Box::pin(async move {
                let lists = service_fn(move |request: Request<_>| {
                    let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
                    let open = inner.calls.stream_opens(caller);
                    let (served, rung) = (Arc::clone(&inner.served), Arc::clone(&inner.rung));
                    let lists = list_and_watch::stream(served, rung, inner.desk.clone(), inner.stop.clone(), open);
                    std::future::ready(Ok::<_, Status>(Response::new(Box::pin(lists))))
                });
                Ok(Grpc::new(Prepared).server_streaming(lists, request).await)
            }),
            _ => Box::pin(std::future::ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}

/// Serves a call with one request and one answer.
fn unary<F>(
    request: http::Request<Body>,
    mut serve: impl FnMut(Request<prost::bytes::Bytes>) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = Result<Message, Status>> + Send + 'static,
{
    Box::pin(async move {
        let answer = service_fn(move |request| {
            let answer = serve(request);
            async move { answer.await.map(Response::new) }
        });
        Ok(Grpc::new(Prepared).unary(answer, request).await)
    })
}

impl Inner {
    fn preferred(&self, request: &[u8]) -> Result<Message, Status> {
        let now = self.desk.clock.now();
        let (mut answer, mut container) = (Vec::with_capacity(256), Vec::with_capacity(256));
        for wish in wire::preferred_requests(request).map_err(allocate::malformed)? {
            container.clear();
            self.resource.prefer_encoded(wish, now, &mut container).map_err(|error| allocate::not_preferred(&error))?;
            wire::put_field(&mut answer, 1, &container);
        }
        self.served.preferred.one();
        self.desk.board.preferred.record(self.desk.clock.now().saturating_sub(now));
        Ok(Message::Bytes(answer))
    }

    fn allocate(&self, request: &[u8]) -> Result<Message, Status> {
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
        let mut answer = Vec::with_capacity(512);
        allocator::put_allocate_response(&mut answer, &self.resource, &grants);
        for request in requests {
            debug!(resource = %self.resource.name(), devices = request.join(","), "allocated");
        }
        self.served.allocations.one();
        self.served.allocated_devices.add(grants.iter().map(|grant| grant.slots.len() as u64).sum());
        self.desk.board.allocate.record(self.desk.clock.now().saturating_sub(now));
        Ok(Message::Bytes(answer))
    }

    async fn pre_start(self: Arc<Self>, request: prost::bytes::Bytes) -> Result<Message, Status> {
        let ids = read::<PreStartContainerRequest>(request)?.devices_ids;
        match pre_start::pre_start(&self.desk, &self.resource, &ids).await {
            Ok(()) => {
                self.served.starts.one();
                Ok(Message::of(&PreStartContainerResponse {}))
            }
            Err(status) => {
                self.served.start_refusals.one();
                warn!(resource = %self.resource.name(), devices = ids.join(","), "PreStartContainer refused: {}", status.message());
                Err(status)
            }
        }
    }
}
