//! Registration by the kubelet's plugin watcher: the kubelet finds a socket in `plugins_registry` and asks who is there.
//!
//! One socket serves both the registration and the device plugin. The kubelet answers with what came of it
//! (kubelet: `pkg/kubelet/pluginmanager/operationexecutor/operation_generator.go`, `GenerateRegisterPluginFunc`).

use super::running::Calls;
use std::{path::Path, sync::Arc};
use tokio::sync::watch;
use tonic::{Request, Response, Status, transport::server::UdsConnectInfo};
use vfiod_core::permit::ResourceName;
use vfiod_proto::{
    DEVICE_PLUGIN_VERSION,
    pluginregistration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
};

/// The type of plugin that the kubelet's device manager takes (kubelet: `pkg/kubelet/kubelet.go`, `initializeModules`;
/// `staging/src/k8s.io/kubelet/pkg/apis/pluginregistration/v1/constants.go`, `DevicePlugin`).
const TYPE: &str = "DevicePlugin";

/// What the kubelet has said of a registration; nothing at first.
pub(super) type Told = Option<Result<(), String>>;

/// Answers the kubelet's plugin watcher.
pub(super) struct Registrar {
    info: PluginInfo,
    told: watch::Sender<Told>,
    calls: Arc<Calls>,
}

impl Registrar {
    pub(super) fn new(resource: &ResourceName, socket: &Path, told: watch::Sender<Told>, calls: &Arc<Calls>) -> Self {
        let info = PluginInfo {
            r#type: TYPE.to_owned(),
            name: resource.as_str().to_owned(),
            endpoint: socket.display().to_string(),
            supported_versions: vec![DEVICE_PLUGIN_VERSION.to_owned()],
        };
        Self { info, told, calls: Arc::clone(calls) }
    }

    pub(super) fn service(self) -> RegistrationServer<Self> {
        RegistrationServer::new(self)
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, request: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        // Whoever asks this on a socket that only root can open is the kubelet.
        self.calls.kubelet_is(request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred));
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        self.told.send_replace(Some(if plugin_registered { Ok(()) } else { Err(error) }));
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
