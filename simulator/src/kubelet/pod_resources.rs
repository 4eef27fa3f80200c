//! PodResources v1 on `pod-resources/kubelet.sock` (`pkg/kubelet/apis/podresources/server_v1.go`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tonic::{Request, Response, Status};
use vfiod_proto::podresources as api;
use vfiod_proto::podresources::pod_resources_lister_server::PodResourcesLister;

use super::builder::KubeletVersion;
use super::pod_devices::NO_TOPOLOGY;
use super::pods::{Kind, Pod, PodSpec};
use super::state::{Shared, State};

/// Calls a second, and calls at once (`pkg/kubelet/apis/podresources/grpc/ratelimit.go`, `DefaultQPS`,
/// `DefaultBurstTokens`).
const RATE: f64 = 100.0;
const BURST: f64 = 10.0;

pub(super) struct Lister {
    shared: Arc<Shared>,
    tokens: Mutex<(f64, Instant)>,
}

impl Lister {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tokens: Mutex::new((BURST, Instant::now())) }
    }

    fn accept(&self) -> Result<(), Status> {
        let refuse = self.shared.update(|state| {
            state.pod_resources_calls.push(Instant::now());
            state.pod_resources_refuse
        });
        if refuse {
            return Err(Status::unavailable("the test has the simulated PodResources refuse"));
        }
        self.take_token()
    }

    /// One limit for all callers and all calls (`ratelimit.go`, `LimiterUnaryServerInterceptor`).
    fn take_token(&self) -> Result<(), Status> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let left = (tokens.0 + now.duration_since(tokens.1).as_secs_f64() * RATE).min(BURST);
        *tokens = (left, now);
        if left < 1.0 {
            return Err(Status::resource_exhausted("rejected by rate limit"));
        }
        tokens.0 -= 1.0;
        Ok(())
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    /// Frees the devices of finished pods first. Before the pod sources have delivered, no pod is known.
    async fn list(
        &self,
        _: Request<api::ListPodResourcesRequest>,
    ) -> Result<Response<api::ListPodResourcesResponse>, Status> {
        self.accept()?;
        let version = self.shared.config.version;
        let pod_resources = self.shared.update(|state| {
            state.update_allocated_devices();
            state.known_pods(version).map(|pod| state.pod_resources(&pod.spec)).collect()
        });
        Ok(Response::new(api::ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<api::AllocatableResourcesRequest>,
    ) -> Result<Response<api::AllocatableResourcesResponse>, Status> {
        self.accept()?;
        let state = self.shared.read();
        let devices = state.resources.iter().flat_map(|(resource, known)| {
            known.healthy.iter().flat_map(|id| entries(resource, id, known.numa(id))).collect::<Vec<_>>()
        });
        Ok(Response::new(api::AllocatableResourcesResponse { devices: devices.collect(), cpu_ids: Vec::new() }))
    }

    /// Off in 1.32 (feature gate `KubeletPodResourcesGet`).
    async fn get(
        &self,
        request: Request<api::GetPodResourcesRequest>,
    ) -> Result<Response<api::GetPodResourcesResponse>, Status> {
        self.accept()?;
        if self.shared.config.version == KubeletVersion::V1_32 {
            return Err(Status::unknown("PodResources API Get method disabled"));
        }
        let api::GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let state = self.shared.read();
        let mut pods = state.cluster.pods.iter().filter(|_| state.pods_known);
        match pods.find(|pod| pod.spec.name == pod_name && pod.spec.namespace == pod_namespace) {
            Some(pod) => {
                let pod_resources = Some(state.pod_resources(&pod.spec));
                Ok(Response::new(api::GetPodResourcesResponse { pod_resources }))
            }
            None => Err(Status::unknown(format!("pod {pod_name} in namespace {pod_namespace} not found"))),
        }
    }
}

impl State {
    /// Newer kubelets list active pods only; 1.32 also lists pods that ended, without devices.
    fn known_pods(&self, version: KubeletVersion) -> impl Iterator<Item = &Pod> {
        let all = version == KubeletVersion::V1_32;
        self.cluster.pods.iter().filter(move |pod| self.pods_known && (all || pod.phase.is_active()))
    }

    /// Init containers that end are left out.
    fn pod_resources(&self, spec: &PodSpec) -> api::PodResources {
        let listed = spec.all_containers().filter(|(kind, _)| *kind != Kind::Init);
        let containers = listed.map(|(_, container)| {
            let mut devices = Vec::new();
            for (resource, allocation) in self.pod_devices.container(&spec.uid, &container.name).into_iter().flatten() {
                for id in allocation.ids() {
                    let nodes =
                        allocation.devices.iter().filter(|(node, ids)| **node != NO_TOPOLOGY && ids.contains(&id));
                    let nodes: Vec<i64> = nodes.map(|(node, _)| *node).collect();
                    devices.extend(entries(resource, &id, &nodes));
                }
            }
            api::ContainerResources { name: container.name.clone(), devices, cpu_ids: Vec::new() }
        });
        api::PodResources {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            containers: containers.collect(),
        }
    }
}

/// One entry for a device and a NUMA node, and one without topology for a device that has none
/// (`pkg/kubelet/cm/container_manager_linux.go`, `containerDevicesFromResourceDeviceInstances`).
fn entries(resource: &str, id: &str, nodes: &[i64]) -> Vec<api::ContainerDevices> {
    let entry = |topology| api::ContainerDevices {
        resource_name: resource.to_owned(),
        device_ids: vec![id.to_owned()],
        topology,
    };
    if nodes.is_empty() {
        return vec![entry(None)];
    }
    nodes.iter().map(|node| entry(Some(api::NumaTopology { nodes: vec![api::NumaNode { id: *node }] }))).collect()
}
