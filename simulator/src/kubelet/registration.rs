//! The `Registration` service on `device-plugins/kubelet.sock` (plugin/v1beta1/server.go).

use std::sync::Arc;
use std::time::Instant;

use tonic::{Request, Response, Status};
use vfiod_proto::DEVICE_PLUGIN_VERSION;
use vfiod_proto::deviceplugin::registration_server::Registration as Service;
use vfiod_proto::deviceplugin::{Empty, RegisterRequest};

use super::client::{self, Client};
use super::resource_name::is_extended_resource_name;
use super::state::{Registration, Shared};

pub(super) struct Registrar(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl Service for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        // A Go handler runs to its end even when the caller has given up; a tonic handler is dropped.
        let work = tokio::spawn(register(Arc::clone(&self.0), request.into_inner()));
        work.await.map_err(|_| Status::unavailable("the kubelet is stopping"))??;
        Ok(Response::new(Empty {}))
    }
}

/// plugin/v1beta1/server.go, `Register`. Go errors without a code reach the plugin as `Unknown`.
async fn register(shared: Arc<Shared>, request: RegisterRequest) -> Result<(), Status> {
    let outcome = match validate(&request) {
        Ok(()) => {
            // filepath.Join: an absolute endpoint is still taken to be inside the plugin folder.
            let socket = shared.config.plugin_dir().join(request.endpoint.trim_start_matches('/'));
            client::connect(Arc::clone(&shared), Client::new(&request.resource_name, socket)).await
        }
        Err(status) => Err(status),
    };
    let registration = Registration {
        answered: Instant::now(),
        resource: request.resource_name,
        endpoint: request.endpoint,
        outcome: outcome.clone().map_err(|status| status.message().to_owned()),
    };
    shared.update(|state| state.registrations.push(registration));
    outcome
}

fn validate(request: &RegisterRequest) -> Result<(), Status> {
    if request.version != DEVICE_PLUGIN_VERSION {
        let version = &request.version;
        return Err(Status::unknown(format!(
            "requested API version {version:?} is not supported by kubelet; supported: {DEVICE_PLUGIN_VERSION:?}"
        )));
    }
    if !is_extended_resource_name(&request.resource_name) {
        return Err(Status::unknown(format!("the ResourceName {:?} is invalid", request.resource_name)));
    }
    Ok(())
}
