//! The floor's server: tonic without generated code.

use super::{book::Book, codec::Raw, watch};
use crate::{client, plan::Plan};
use anyhow::{Context, Result};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::Future,
    os::fd::OwnedFd,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as Task, Poll},
};
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, body::Body, server::Grpc};
use tower::{Service, service_fn};
use vfiod_proto::{
    DEVICE_PLUGIN_VERSION, KUBELET_SOCKET,
    deviceplugin::{DevicePluginOptions, RegisterRequest, registration_client::RegistrationClient},
};

/// The service; cloned for each connection.
#[derive(Clone)]
struct Floor {
    book: Arc<Book>,
    preferred: Bytes,
    /// Taken by the first stream: there is one kubelet.
    watch: Arc<Mutex<Option<AsyncFd<OwnedFd>>>>,
}

/// Serves `plan` in `folder`, the kubelet's; `nodes` is the folder of the device nodes. Runs until it is killed.
///
/// # Errors
/// When it cannot serve or register.
pub async fn serve(plan: &Plan, folder: &Path, nodes: &Path) -> Result<()> {
    let name = format!("floor-{}.sock", std::process::id());
    let listener = UnixListener::bind(folder.join(&name)).context("cannot listen")?;
    let watch = watch::open(nodes).context("cannot watch the device nodes")?;
    let preferred = Book::preferred(plan.devices.get(..8).unwrap_or_default());
    let floor = Floor { book: Arc::new(Book::new(plan)), preferred, watch: Arc::new(Mutex::new(Some(watch))) };
    let served = tokio::spawn(
        tonic::transport::Server::builder().add_service(floor).serve_with_incoming(UnixListenerStream::new(listener)),
    );
    register(folder, name, plan.resource.clone()).await?;
    served.await?.context("the server ended")
}

async fn register(folder: &Path, endpoint: String, resource_name: String) -> Result<()> {
    let socket = folder.join(KUBELET_SOCKET);
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(connect).await?;
    let options = DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };
    let version = DEVICE_PLUGIN_VERSION.to_owned();
    let request = RegisterRequest { version, endpoint, resource_name, options: Some(options) };
    RegistrationClient::new(channel).register(request).await.context("the kubelet refused")?;
    Ok(())
}

impl tonic::server::NamedService for Floor {
    const NAME: &'static str = "v1beta1.DevicePlugin";
}

impl Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw);
            Ok(match request.uri().path() {
                client::ALLOCATE => {
                    let answer = service_fn(move |request: Request<Bytes>| {
                        let answer = floor.book.allocate(request.get_ref());
                        async move { answer.map(Response::new).ok_or_else(|| Status::not_found("unknown device")) }
                    });
                    grpc.unary(answer, request).await
                }
                client::LIST_AND_WATCH => {
                    let lists = service_fn(move |_: Request<Bytes>| {
                        let watch = floor.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let book = Arc::clone(&floor.book);
                        async move {
                            let watch = watch.ok_or_else(|| Status::resource_exhausted("one stream only"))?;
                            Ok(Response::new(Box::pin(watch::lists(book, watch))))
                        }
                    });
                    grpc.server_streaming(lists, request).await
                }
                path => {
                    let prepared = if path == client::PREFERRED { floor.preferred } else { Bytes::new() };
                    let answer = service_fn(move |_: Request<Bytes>| {
                        let prepared = prepared.clone();
                        async move { Ok::<_, Status>(Response::new(prepared)) }
                    });
                    grpc.unary(answer, request).await
                }
            })
        })
    }
}
