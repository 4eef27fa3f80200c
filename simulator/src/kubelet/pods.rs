//! Pods: what the API server knows of them, and what an admitted one was given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pod_devices::RunOptions;

/// A container and the extended resources that it requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Name, unique in its pod.
    pub name: String,
    /// Resource name and count, in the order in which the kubelet allocates them.
    pub resources: Vec<(String, usize)>,
    /// An init container that keeps running (`restartPolicy: Always`): it keeps its devices.
    pub restartable: bool,
}

/// A pod as the API server hands it to the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// Namespace.
    pub namespace: String,
    /// Name, unique in its namespace.
    pub name: String,
    /// UID, unique for ever.
    pub uid: String,
    /// Run one after the other before `containers`.
    pub init_containers: Vec<ContainerSpec>,
    /// Run together.
    pub containers: Vec<ContainerSpec>,
}

impl PodSpec {
    /// A pod without containers and with a UID that no other pod of this process has.
    pub fn new(namespace: &str, name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let serial = u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let uid = uuid::Builder::from_random_bytes((u128::from(std::process::id()) << 96 | serial).to_be_bytes());
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.into_uuid().to_string(),
            init_containers: Vec::new(),
            containers: Vec::new(),
        }
    }

    /// Adds a container that requests the given counts of resources.
    #[must_use]
    pub fn container<'a>(mut self, name: &str, resources: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        self.containers.push(ContainerSpec::new(name, resources));
        self
    }

    /// Adds an init container that requests the given counts of resources.
    #[must_use]
    pub fn init_container<'a>(mut self, name: &str, resources: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        self.init_containers.push(ContainerSpec::new(name, resources));
        self
    }

    /// Adds an init container that keeps running beside the containers.
    #[must_use]
    pub fn sidecar<'a>(mut self, name: &str, resources: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        self.init_containers.push(ContainerSpec { restartable: true, ..ContainerSpec::new(name, resources) });
        self
    }

    /// Sets the UID.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = uid.to_owned();
        self
    }

    /// Init containers, then containers: the order of admission.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = (Kind, &ContainerSpec)> {
        let init = self.init_containers.iter().map(|c| (if c.restartable { Kind::Sidecar } else { Kind::Init }, c));
        init.chain(self.containers.iter().map(|c| (Kind::App, c)))
    }

    pub(super) fn find_container(&self, name: &str) -> Option<&ContainerSpec> {
        self.init_containers.iter().chain(&self.containers).find(|c| c.name == name)
    }
}

impl ContainerSpec {
    fn new<'a>(name: &str, resources: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        Self {
            name: name.to_owned(),
            resources: resources.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            restartable: false,
        }
    }
}

/// The part a container plays, which decides who may use its devices next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Init,
    Sidecar,
    App,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Bound to the node, not admitted yet.
    Pending,
    /// Admitted.
    Running,
    /// All its containers ended.
    Finished,
    /// The kubelet refused it, with this message.
    Rejected(String),
}

impl Phase {
    /// Whether the kubelet counts the pod as active (`pkg/kubelet/kubelet_pods.go`, `filterOutInactivePods`).
    pub(super) fn is_active(&self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) spec: PodSpec,
    pub(super) phase: Phase,
}

/// The API server's pods on this node, oldest first. They outlive the kubelet.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) pods: Vec<Pod>,
}

impl Cluster {
    pub(super) fn find(&self, uid: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.spec.uid == uid)
    }

    pub(super) fn set_phase(&mut self, uid: &str, phase: Phase) -> bool {
        match self.pods.iter_mut().find(|pod| pod.spec.uid == uid) {
            Some(pod) => {
                pod.phase = phase;
                true
            }
            None => false,
        }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.phase.is_active())
    }
}

/// A pod that passed admission, with all that its containers were given.
#[derive(Debug, Clone)]
pub struct AdmittedPod {
    /// The pod.
    pub spec: PodSpec,
    /// Init containers first.
    pub containers: Vec<AdmittedContainer>,
}

impl AdmittedPod {
    /// The UID of the pod.
    pub fn uid(&self) -> &str {
        &self.spec.uid
    }

    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&AdmittedContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// All device ids of the pod, each once, sorted.
    pub fn device_ids(&self) -> Vec<String> {
        let ids: std::collections::BTreeSet<_> =
            self.containers.iter().flat_map(|c| c.devices.values().flatten().cloned()).collect();
        ids.into_iter().collect()
    }
}

/// What one container was given.
#[derive(Debug, Clone)]
pub struct AdmittedContainer {
    /// Name of the container.
    pub name: String,
    /// Resource name to device ids, sorted, as they were sent in `Allocate`.
    pub devices: BTreeMap<String, Vec<String>>,
    /// What the container runtime would be told.
    pub options: RunOptions,
}

impl PodSpec {
    /// How much of a resource the scheduler counts for the pod: the sum of its containers, or its largest init container
    /// (`k8s.io/component-helpers/resource/helpers.go`, `PodRequests`).
    pub(super) fn request(&self, resource: &str) -> usize {
        let of = |container: &ContainerSpec| -> usize {
            container.resources.iter().filter(|(name, _)| name == resource).map(|(_, count)| count).sum()
        };
        let (sidecars, inits): (Vec<_>, Vec<_>) = self.init_containers.iter().partition(|c| c.restartable);
        let running: usize = self.containers.iter().chain(sidecars).map(of).sum();
        running.max(inits.into_iter().map(of).max().unwrap_or(0))
    }
}
