//! Admission of pods: one at a time (manager.go, `Allocate`, `allocateContainerResources`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::calls::{Rpc, recorded};
use super::choice::{Wanted, devices_to_allocate};
use super::client::describe;
use super::folders::make_pod_logs;
use super::pod_devices::{Allocation, DevicesPerNuma, NO_TOPOLOGY, RunOptions};
use super::pods::{AdmittedContainer, AdmittedPod, ContainerSpec, Kind, Phase, Pod, PodSpec};
use super::state::{Shared, State};

/// Why a pod was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The kubelet refused the pod for good; the pod is Failed.
    #[error("pod rejected, UnexpectedAdmissionError: Allocate failed due to {0}, which is unexpected")]
    Rejected(String),
    /// The node status lacks the resource, so that the scheduler would not have sent the pod here.
    #[error("pod not scheduled: the node does not have {0}")]
    NotScheduled(String),
    /// The API server refuses a second pod of this namespace and name.
    #[error("pod {0} already exists")]
    AlreadyExists(String),
    /// The kubelet does not run, or stopped during the admission.
    #[error("the kubelet is not running")]
    NotRunning,
}

/// Devices of init containers, by resource, that the containers after them may use (manager.go, `devicesToReuse`).
type Reusable = BTreeMap<String, BTreeSet<String>>;

pub(super) async fn admit(shared: Arc<Shared>, spec: PodSpec) -> Result<AdmittedPod, AdmissionError> {
    wait_for_sources(&shared).await;
    let _one_at_a_time = shared.admission.lock().await;
    shared.update(|state| schedule(state, &spec))?;
    admit_next(&shared, &spec, false).await?;
    if let Some(root) = &shared.config.host_root
        && let Err(error) = make_pod_logs(root, &spec)
    {
        tracing::warn!(%error, pod = spec.name, "the folder of the pod's logs could not be made");
    }
    Ok(describe_pod(&shared.read(), spec))
}

/// Admits again what the API server says is bound to the node, before the sources count as ready: what the kubelet does
/// after a restart (`pkg/kubelet/kubelet.go`, `HandlePodAdditions`). Running containers pass; after a reboot none runs.
pub(super) async fn sources_deliver(shared: &Shared, containers_run: bool) {
    let _one_at_a_time = shared.admission.lock().await;
    let active = shared.update(|state| {
        state.pods_known = true;
        state.cluster.active().map(|pod| pod.spec.clone()).collect::<Vec<_>>()
    });
    for spec in active {
        if let Err(error) = admit_next(shared, &spec, containers_run).await {
            tracing::warn!(%error, pod = spec.name, "a pod of this node is not admitted again");
        }
    }
    shared.update(|state| state.sources_ready = true);
}

async fn wait_for_sources(shared: &Shared) {
    let mut changes = shared.changes();
    while !shared.read().sources_ready {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn schedule(state: &mut State, spec: &PodSpec) -> Result<(), AdmissionError> {
    for (_, container) in spec.all_containers() {
        for (resource, _) in &container.resources {
            if !state.has_resource(resource) {
                return Err(AdmissionError::NotScheduled(resource.clone()));
            }
        }
    }
    let same_name = |pod: &&Pod| pod.spec.namespace == spec.namespace && pod.spec.name == spec.name;
    if state.cluster.pods.iter().find(same_name).is_some() {
        return Err(AdmissionError::AlreadyExists(format!("{}/{}", spec.namespace, spec.name)));
    }
    state.cluster.pods.push(Pod { spec: spec.clone(), phase: Phase::Pending });
    Ok(())
}

async fn admit_next(shared: &Shared, spec: &PodSpec, running: bool) -> Result<(), AdmissionError> {
    let mut reusable = Reusable::new();
    for (kind, container) in spec.all_containers() {
        if let Err(message) = allocate_container(shared, spec, container, &reusable, running).await {
            let error = AdmissionError::Rejected(message);
            shared.update(|state| state.cluster.set_phase(&spec.uid, Phase::Rejected(error.to_string())));
            return Err(error);
        }
        keep_for_reuse(&shared.read(), spec, kind, container, &mut reusable);
    }
    shared.update(|state| state.cluster.set_phase(&spec.uid, Phase::Running));
    Ok(())
}

/// What an init container has is free for the next ones; what a sidecar or an app container has is not.
fn keep_for_reuse(state: &State, spec: &PodSpec, kind: Kind, container: &ContainerSpec, reusable: &mut Reusable) {
    for (resource, allocation) in state.pod_devices.container(&spec.uid, &container.name).into_iter().flatten() {
        let set = reusable.entry(resource.clone()).or_default();
        if kind == Kind::Init {
            set.extend(allocation.ids());
        } else {
            set.retain(|id| !allocation.ids().contains(id));
        }
    }
}

async fn allocate_container(
    shared: &Shared,
    spec: &PodSpec,
    container: &ContainerSpec,
    reusable: &Reusable,
    running: bool,
) -> Result<(), String> {
    let (uid, none) = (spec.uid.as_str(), BTreeSet::new());
    let mut freed = false;
    let mut allocated = false;
    for (resource, count) in &container.resources {
        if !shared.read().is_device_plugin_resource(resource) {
            continue;
        }
        if !freed {
            shared.update(State::update_allocated_devices);
            freed = true;
        }
        let wanted = Wanted { uid, container: &container.name, resource, count: *count, running };
        let ids = devices_to_allocate(shared, wanted, reusable.get(resource).unwrap_or(&none)).await?;
        if ids.is_empty() {
            continue;
        }
        allocated = true;
        allocate(shared, wanted, &ids).await?;
    }
    if allocated {
        shared.write_checkpoint().map_err(|error| format!("failed to write checkpoint file: {error}"))?;
    }
    Ok(())
}

/// One `Allocate`. When it fails, the devices in use are counted afresh from what the pods have.
async fn allocate(shared: &Shared, wanted: Wanted<'_>, ids: &BTreeSet<String>) -> Result<(), String> {
    let restore = |state: &mut State| state.allocated = state.pod_devices.devices();
    let Some(endpoint) = shared.read().endpoints.get(wanted.resource).cloned() else {
        shared.update(restore);
        return Err(format!("unknown Device Plugin {}", wanted.resource));
    };
    let sent: Vec<_> = ids.iter().cloned().collect();
    let call = endpoint.allocate(sent.clone());
    let answer = recorded(shared, wanted.resource, Rpc::Allocate, |_| sent, call).await.map_err(|status| {
        shared.update(restore);
        describe(&status)
    })?;
    let Some(response) = answer.container_responses.into_iter().next() else {
        return Err("no containers return in allocation response".to_owned());
    };
    shared.update(|state| {
        let devices = state.by_numa(wanted.resource, ids);
        let allocation = Allocation { devices, response };
        state.pod_devices.insert(wanted.uid, wanted.container, wanted.resource, allocation);
    });
    Ok(())
}

fn describe_pod(state: &State, spec: PodSpec) -> AdmittedPod {
    let containers = spec.all_containers().map(|(_, container)| {
        let allocations = state.pod_devices.container(&spec.uid, &container.name);
        let ids =
            |(resource, allocation): (&String, &Allocation)| (resource.clone(), allocation.ids().into_iter().collect());
        AdmittedContainer {
            name: container.name.clone(),
            devices: allocations.into_iter().flatten().map(ids).collect(),
            options: RunOptions::merge(allocations.into_iter().flat_map(BTreeMap::values)),
        }
    });
    let containers = containers.collect();
    AdmittedPod { spec, containers }
}

impl State {
    /// manager.go, `isDevicePluginResource`
    pub(super) fn is_device_plugin_resource(&self, resource: &str) -> bool {
        self.resources.contains_key(resource) || self.allocated.contains_key(resource)
    }

    fn by_numa(&self, resource: &str, ids: &BTreeSet<String>) -> DevicesPerNuma {
        let mut devices = DevicesPerNuma::new();
        for id in ids {
            let numa = self.resources.get(resource).map_or(&[][..], |known| known.numa(id));
            let nodes = if numa.is_empty() { &[NO_TOPOLOGY][..] } else { numa };
            for node in nodes {
                devices.entry(*node).or_default().push(id.clone());
            }
        }
        devices
    }
}
