//! KubeVirt's own device plugin, as far as whoever takes a node over from it meets it: what it lists and what it answers.
//!
//! Ids are numbers of IOMMU groups; the variables name the devices, the device nodes the groups, in the order of the ids
//! (KubeVirt: `pkg/virt-handler/device-manager/pci_device.go` and `mediated_device.go`, `Allocate`, `constructDPIdevices`).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use futures_util::{Stream, StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::service_fn;
use vfiod_proto::DEVICE_PLUGIN_VERSION;
use vfiod_proto::deviceplugin as api;
use vfiod_proto::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use vfiod_proto::deviceplugin::registration_client::RegistrationClient;

/// The plugin of one resource. It ends when dropped, and its socket with it.
#[derive(Debug)]
pub struct KubevirtPlugin {
    socket: PathBuf,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Service {
    variable: String,
    /// The device of each group, by its id.
    devices: Vec<(String, String)>,
    stopped: watch::Receiver<bool>,
}

impl KubevirtPlugin {
    /// Serves `devices`, each a group and an address (or UUID), as `resource` to the kubelet whose plugin folder this is.
    ///
    /// # Errors
    /// When the socket cannot be made, or the kubelet refuses.
    pub async fn start(plugin_dir: &Path, resource: &str, devices: &[(u32, &str)]) -> anyhow::Result<Self> {
        let name = format!("kubevirt-{}.sock", resource.replace('/', "-"));
        let socket = plugin_dir.join(&name);
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        // pkg/util/util.go, ResourceNameToEnvVar
        let prefix =
            if devices.iter().any(|(_, device)| device.len() == 36) { "MDEV_PCI_RESOURCE" } else { "PCI_RESOURCE" };
        let variable = format!("{prefix}_{}", resource.to_uppercase().replace(['/', '.'], "_"));
        let devices = devices.iter().map(|&(group, device)| (group.to_string(), device.to_owned())).collect();
        let (stop, stopped) = watch::channel(false);
        let service = DevicePluginServer::from_arc(Arc::new(Service { variable, devices, stopped }));
        let incoming = UnixListenerStream::new(listener);
        let server = tokio::spawn(async move {
            // It ends with the test.
            let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        let kubelet = plugin_dir.join(vfiod_proto::KUBELET_SOCKET);
        let connector = service_fn(move |_| {
            let kubelet = kubelet.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(kubelet).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
        let request = api::RegisterRequest {
            version: DEVICE_PLUGIN_VERSION.to_owned(),
            endpoint: name,
            resource_name: resource.to_owned(),
            options: None,
        };
        RegistrationClient::new(channel).register(request).await?;
        Ok(Self { socket, stop, server })
    }
}

impl Drop for KubevirtPlugin {
    fn drop(&mut self) {
        // The streams end, and the kubelet sees that.
        let _ = self.stop.send(true);
        self.server.abort();
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, socket = %self.socket.display(), "socket not removed");
        }
    }
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        Ok(Response::new(api::DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let device =
            |(id, _): &(String, String)| api::Device { id: id.clone(), health: "Healthy".to_owned(), topology: None };
        let list = api::ListAndWatchResponse { devices: self.devices.iter().map(device).collect() };
        let mut stopped = self.stopped.clone();
        let end = stream::once(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        let end = end.filter_map(|()| std::future::ready(None));
        Ok(Response::new(Box::pin(stream::once(std::future::ready(Ok(list))).chain(end))))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        let node = |path: String| api::DeviceSpec {
            container_path: path.clone(),
            host_path: path,
            permissions: "mrw".to_owned(),
        };
        let answer = |container: api::ContainerAllocateRequest| {
            let known =
                container.devices_ids.iter().filter_map(|id| self.devices.iter().find(|(known, _)| known == id));
            let (mut devices, mut names) = (Vec::new(), Vec::new());
            for (group, name) in known {
                names.push(name.clone());
                devices.extend([node("/dev/vfio/vfio".to_owned()), node(format!("/dev/vfio/{group}"))]);
            }
            let envs = HashMap::from([(self.variable.clone(), names.join(","))]);
            api::ContainerAllocateResponse { envs, devices, ..api::ContainerAllocateResponse::default() }
        };
        let container_responses = request.into_inner().container_requests.into_iter().map(answer).collect();
        Ok(Response::new(api::AllocateResponse { container_responses }))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("not implemented"))
    }

    async fn pre_start_container(
        &self,
        _: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}
