//! Start of a container: the call of `PreStartContainer` (manager.go, `GetDeviceRunContainerOptions`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;

use super::calls::{Rpc, recorded};
use super::pod_devices::RunOptions;
use super::pods::Phase;
use super::state::Shared;

/// Why a container did not start. The kubelet tries again later, with a growing pause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ContainerError {
    /// The plugin answered with an error, or not in time.
    #[error("device plugin PreStartContainer rpc failed for {resource} after {took:?}: {status}")]
    PreStart {
        /// The resource.
        resource: String,
        /// What the plugin answered.
        status: Status,
        /// How long the call took.
        took: Duration,
    },
    /// The kubelet itself cannot start it.
    #[error("the kubelet cannot start the container: {0}")]
    Kubelet(String),
    /// The kubelet does not run, or stopped during the call.
    #[error("the kubelet is not running")]
    NotRunning,
}

/// Calls `PreStartContainer` for each resource of the container whose plugin requires it, holding no lock.
pub(super) async fn start_container(
    shared: Arc<Shared>,
    uid: String,
    container: String,
) -> Result<RunOptions, ContainerError> {
    let spec = match shared.read().cluster.find(&uid) {
        Some(pod) if pod.phase == Phase::Running => pod.spec.clone(),
        Some(pod) => return Err(ContainerError::Kubelet(format!("pod {} is {:?}", pod.spec.name, pod.phase))),
        None => return Err(ContainerError::Kubelet(format!("no pod has the UID {uid}"))),
    };
    let Some(requests) = spec.find_container(&container) else {
        return Err(ContainerError::Kubelet(format!("pod {} has no container {container}", spec.name)));
    };
    for (resource, count) in &requests.resources {
        if *count > 0 && shared.read().is_device_plugin_resource(resource) {
            pre_start(&shared, &uid, &container, resource).await?;
        }
    }
    let state = shared.read();
    let allocations = state.pod_devices.container(&uid, &container).into_iter().flat_map(|by| by.values());
    Ok(RunOptions::merge(allocations))
}

/// manager.go, `callPreStartContainerIfNeeded`
async fn pre_start(shared: &Shared, uid: &str, container: &str, resource: &str) -> Result<(), ContainerError> {
    let (endpoint, ids) = {
        let state = shared.read();
        let Some(endpoint) = state.endpoints.get(resource).cloned() else {
            return Err(ContainerError::Kubelet(format!("no endpoint for the registered resource {resource}")));
        };
        if !endpoint.wants_pre_start() {
            return Ok(());
        }
        let Some(allocation) = state.pod_devices.allocation(uid, container, resource) else {
            return Err(ContainerError::Kubelet(format!(
                "no devices found allocated in local cache for pod {uid}, container {container}, resource {resource}"
            )));
        };
        (endpoint, allocation.ids().into_iter().collect::<Vec<_>>())
    };
    let begun = Instant::now();
    let call = endpoint.pre_start(ids.clone(), shared.config.pre_start_timeout);
    let answer = recorded(shared, resource, Rpc::PreStartContainer, |_| ids, call).await;
    answer.map_err(|status| ContainerError::PreStart { resource: resource.to_owned(), status, took: begun.elapsed() })
}
