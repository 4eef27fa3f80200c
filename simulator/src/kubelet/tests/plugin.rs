//! A device plugin that does what a test tells it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use vfiod_proto::deviceplugin as api;
use vfiod_proto::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use vfiod_proto::deviceplugin::registration_client::RegistrationClient;

use crate::kubelet::Kubelet;

pub(super) fn device(id: &str, health: &str, numa: Option<i64>) -> api::Device {
    let topology = numa.map(|id| api::TopologyInfo { nodes: vec![api::NumaNode { id }] });
    api::Device { id: id.to_owned(), health: health.to_owned(), topology }
}

/// What the plugin was asked, and how it is told to answer.
pub(super) struct Behaviour {
    devices: watch::Sender<Option<Vec<api::Device>>>,
    pub(super) allocated: Mutex<Vec<Vec<String>>>,
    pub(super) preferred: Mutex<Vec<api::ContainerPreferredAllocationRequest>>,
    pub(super) started: Mutex<Vec<Vec<String>>>,
    pub(super) options: Mutex<api::DevicePluginOptions>,
    pub(super) refuse_allocate: AtomicBool,
    pub(super) hang_allocate: AtomicBool,
    pub(super) refuse_preferred: AtomicBool,
    pub(super) refuse_options: AtomicBool,
    pub(super) pre_start: Mutex<PreStart>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PreStart {
    Succeed,
    Refuse,
    Hang,
}

pub(super) struct TestPlugin {
    pub(super) is: Arc<Behaviour>,
    socket: PathBuf,
    server: JoinHandle<()>,
}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestPlugin {
    /// Listens on the socket; offers preferred allocation and requires pre-start.
    pub(super) fn serve(socket: &Path) -> Self {
        let options = api::DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };
        let is = Arc::new(Behaviour {
            devices: watch::channel(Some(Vec::new())).0,
            allocated: Mutex::default(),
            preferred: Mutex::default(),
            started: Mutex::default(),
            options: Mutex::new(options),
            refuse_allocate: AtomicBool::new(false),
            hang_allocate: AtomicBool::new(false),
            refuse_preferred: AtomicBool::new(false),
            refuse_options: AtomicBool::new(false),
            pre_start: Mutex::new(PreStart::Succeed),
        });
        let listener = UnixListener::bind(socket).unwrap();
        let service = DevicePluginServer::new(Served(Arc::clone(&is)));
        let server = tokio::spawn(async move {
            Server::builder().serve_with_incoming(service, UnixListenerStream::new(listener)).await.unwrap();
        });
        Self { is, socket: socket.to_path_buf(), server }
    }

    /// Lists these devices, all healthy, from now on.
    pub(super) fn list(&self, ids: &[&str]) {
        self.list_devices(ids.iter().map(|id| device(id, "Healthy", None)).collect());
    }

    pub(super) fn list_devices(&self, devices: Vec<api::Device>) {
        self.is.devices.send_replace(Some(devices));
    }

    /// Ends the streams; new ones end at once until devices are listed again.
    pub(super) fn end_streams(&self) {
        self.is.devices.send_replace(None);
    }

    pub(super) async fn register(&self, kubelet: &Kubelet, resource: &str) -> Result<(), Status> {
        let endpoint = self.socket.file_name().unwrap().to_str().unwrap();
        register(&kubelet.plugin_dir(), "v1beta1", endpoint, resource).await
    }
}

/// Calls `Register`.
pub(super) async fn register(folder: &Path, version: &str, endpoint: &str, resource: &str) -> Result<(), Status> {
    let socket = folder.join("kubelet.sock");
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = api::RegisterRequest {
        version: version.to_owned(),
        endpoint: endpoint.to_owned(),
        resource_name: resource.to_owned(),
        options: None,
    };
    RegistrationClient::new(channel).register(request).await.map(|_| ())
}

struct Served(Arc<Behaviour>);

#[tonic::async_trait]
impl DevicePlugin for Served {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        if self.0.refuse_options.load(Ordering::Relaxed) {
            return Err(Status::internal("no options today"));
        }
        Ok(Response::new(*self.0.options.lock().unwrap()))
    }

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let mut devices = self.0.devices.subscribe();
        let (messages, stream) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let Some(list) = devices.borrow_and_update().clone() else { return };
                let message = api::ListAndWatchResponse { devices: list };
                if messages.send(Ok(message)).await.is_err() || devices.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        if self.0.refuse_preferred.load(Ordering::Relaxed) {
            return Err(Status::internal("no preference today"));
        }
        let requests = request.into_inner().container_requests;
        self.0.preferred.lock().unwrap().extend(requests.iter().cloned());
        // Prefers the last devices, so that a test sees whether it was heard.
        let container_responses = requests.iter().map(|asked| {
            let mut ids = asked.must_include_device_i_ds.clone();
            let mut rest = asked.available_device_i_ds.clone();
            rest.sort();
            while ids.len() < usize::try_from(asked.allocation_size).unwrap() {
                match rest.pop() {
                    Some(id) if !ids.contains(&id) => ids.push(id),
                    Some(_) => {}
                    None => break,
                }
            }
            api::ContainerPreferredAllocationResponse { device_i_ds: ids }
        });
        Ok(Response::new(api::PreferredAllocationResponse { container_responses: container_responses.collect() }))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        if self.0.refuse_allocate.load(Ordering::Relaxed) {
            return Err(Status::failed_precondition("driver unbound"));
        }
        let requests = request.into_inner().container_requests;
        self.0.allocated.lock().unwrap().extend(requests.iter().map(|asked| asked.devices_ids.clone()));
        if self.0.hang_allocate.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let container_responses = requests.into_iter().map(|asked| {
            let envs = [("PCI_RESOURCE_INTEL_COM_QAT".to_owned(), asked.devices_ids.join(","))].into();
            let spec = api::DeviceSpec {
                container_path: "/dev/vfio/vfio".to_owned(),
                host_path: "/dev/vfio/vfio".to_owned(),
                permissions: "mrw".to_owned(),
            };
            api::ContainerAllocateResponse { envs, devices: vec![spec], ..Default::default() }
        });
        Ok(Response::new(api::AllocateResponse { container_responses: container_responses.collect() }))
    }

    async fn pre_start_container(
        &self,
        request: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        self.0.started.lock().unwrap().push(request.into_inner().devices_ids);
        let behaviour = *self.0.pre_start.lock().unwrap();
        match behaviour {
            PreStart::Succeed => Ok(Response::new(api::PreStartContainerResponse {})),
            PreStart::Refuse => Err(Status::unavailable("sibling owned by pod default/other")),
            PreStart::Hang => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Err(Status::internal("an hour has passed"))
            }
        }
    }
}
