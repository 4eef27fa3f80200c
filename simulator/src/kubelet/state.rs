//! All that the kubelet and its observer know, behind one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::watch;
use vfiod_proto::deviceplugin as api;

use super::builder::{Config, Sources};
use super::calls::Call;
use super::checkpoint::Checkpoint;
use super::client::{Client, Clients, Endpoint};
use super::devices::{Device, Health, Resource};
use super::pod_devices::PodDevices;
use super::pods::Cluster;

/// A call of `Register`.
#[derive(Debug, Clone)]
pub struct Registration {
    /// When the kubelet answered.
    pub answered: Instant,
    /// The resource name that the plugin sent.
    pub resource: String,
    /// The socket name that the plugin sent.
    pub endpoint: String,
    /// The error text, if the kubelet refused.
    pub outcome: Result<(), String>,
}

/// A message of a `ListAndWatch` stream.
#[derive(Debug, Clone)]
pub struct Listing {
    /// When the kubelet had received it.
    pub received: Instant,
    /// The plugin's socket.
    pub socket: PathBuf,
    /// Size on the wire, without the gRPC frame.
    pub bytes: usize,
    /// Number of healthy devices in it.
    pub healthy: usize,
    /// Number of other devices in it.
    pub unhealthy: usize,
    /// What differs from the kubelet's list before it: `None` is a device that is no longer listed.
    pub changes: BTreeMap<String, Option<Device>>,
}

/// What the kubelet knows, for conditions to look at.
#[derive(Debug, Default)]
pub struct State {
    // In the kubelet's memory: gone at its end.
    pub(super) resources: BTreeMap<String, Resource>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    /// With kubernetes#135437: the connected endpoints of a resource by socket path.
    pub(super) endpoint_store: BTreeMap<String, BTreeMap<PathBuf, Endpoint>>,
    pub(super) clients: Clients,
    pub(super) allocated: BTreeMap<String, BTreeSet<String>>,
    pub(super) pod_devices: PodDevices,
    pub(super) pods_known: bool,
    pub(super) sources_ready: bool,
    /// The NUMA nodes that the topology manager hints.
    pub(super) affinity: Option<Vec<i64>>,
    pub(super) stop_grace: Duration,
    // Outside the kubelet: kept.
    pub(super) sources: Sources,
    pub(super) cluster: Cluster,
    pub(super) registrations: Vec<Registration>,
    pub(super) listings: BTreeMap<String, Vec<Listing>>,
    pub(super) calls: Vec<Call>,
    pub(super) pod_resources_calls: Vec<Instant>,
    pub(super) pod_resources_refuse: bool,
    pub(super) starts: usize,
}

impl State {
    /// What is left when the kubelet's process ends.
    pub(super) fn outlive(&mut self, config: &Config) {
        *self = Self {
            stop_grace: config.stop_grace,
            affinity: config.affinity.clone(),
            cluster: std::mem::take(&mut self.cluster),
            registrations: std::mem::take(&mut self.registrations),
            listings: std::mem::take(&mut self.listings),
            calls: std::mem::take(&mut self.calls),
            pod_resources_calls: std::mem::take(&mut self.pod_resources_calls),
            pod_resources_refuse: self.pod_resources_refuse,
            sources: self.sources,
            starts: self.starts,
            ..Self::default()
        };
    }

    /// Whether the node status has this resource (manager.go, `GetCapacity`): it has an endpoint that did not stop
    /// longer ago than the grace period.
    pub fn has_resource(&self, resource: &str) -> bool {
        self.resources.contains_key(resource)
            && self.endpoints.get(resource).is_some_and(|e| !e.expired(self.stop_grace))
    }

    /// All devices of the resource, as the node status counts them; 0 when it does not have the resource.
    pub fn capacity(&self, resource: &str) -> usize {
        self.shown(resource).map_or(0, |r| r.healthy.len() + r.unhealthy.len())
    }

    /// The healthy devices of the resource, allocated or not, as the node status counts them.
    pub fn allocatable(&self, resource: &str) -> usize {
        self.shown(resource).map_or(0, |r| r.healthy.len())
    }

    /// What the scheduler takes to be free: allocatable without what the node's active pods request. An allocated device
    /// that is Unhealthy counts twice.
    pub fn schedulable(&self, resource: &str) -> usize {
        let requested: usize = self.cluster.active().map(|pod| pod.spec.request(resource)).sum();
        self.allocatable(resource).saturating_sub(requested)
    }

    /// The devices of the resource; all Unhealthy once the stream has ended.
    pub fn devices(&self, resource: &str) -> BTreeMap<String, Device> {
        let Some(known) = self.shown(resource) else { return BTreeMap::new() };
        let with = |health| move |id: &String| (id.clone(), Device { health, numa: known.numa(id).to_vec() });
        let healthy = known.healthy.iter().map(with(Health::Healthy));
        healthy.chain(known.unhealthy.iter().map(with(Health::Unhealthy))).collect()
    }

    /// The health of a device; `None` when it is not listed.
    pub fn health(&self, resource: &str, id: &str) -> Option<Health> {
        let known = self.shown(resource)?;
        if known.healthy.contains(id) {
            return Some(Health::Healthy);
        }
        known.unhealthy.contains(id).then_some(Health::Unhealthy)
    }

    /// The resources that the node status has.
    pub fn resources(&self) -> Vec<String> {
        self.resources.keys().filter(|name| self.has_resource(name)).cloned().collect()
    }

    /// The ids of the resource that the kubelet holds to be in use.
    pub fn allocated(&self, resource: &str) -> BTreeSet<String> {
        self.allocated.get(resource).cloned().unwrap_or_default()
    }

    /// What the status of a pod shows of its devices. A device that is no longer listed is shown Healthy (manager.go,
    /// `UpdateAllocatedResourcesStatus`).
    pub fn pod_status(&self, uid: &str) -> BTreeMap<String, Health> {
        let mut status = BTreeMap::new();
        let Some(pod) = self.cluster.find(uid) else { return status };
        for container in &pod.spec.containers {
            for (resource, allocation) in self.pod_devices.container(uid, &container.name).into_iter().flatten() {
                for id in allocation.ids() {
                    let listed = self.resources.get(resource).and_then(|known| known.all.get(&id));
                    status.insert(id, listed.map_or(Health::Healthy, |device| device.health));
                }
            }
        }
        status
    }

    /// The phase of a pod; `None` when it was never bound to the node or is deleted.
    pub fn phase(&self, uid: &str) -> Option<super::pods::Phase> {
        self.cluster.find(uid).map(|pod| pod.phase.clone())
    }

    /// Whether a plugin is connected for the resource.
    pub fn is_connected(&self, resource: &str) -> bool {
        self.endpoints.get(resource).is_some_and(|endpoint| !endpoint.is_stopped())
    }

    /// Successful registrations of the resource since the observer began.
    pub fn registrations(&self, resource: &str) -> usize {
        self.registrations.iter().filter(|r| r.resource == resource && r.outcome.is_ok()).count()
    }

    /// Every call of `Register`, oldest first.
    pub fn registration_log(&self) -> &[Registration] {
        &self.registrations
    }

    /// Every `ListAndWatch` message of the resource, oldest first.
    pub fn listings(&self, resource: &str) -> &[Listing] {
        self.listings.get(resource).map_or(&[], Vec::as_slice)
    }

    /// When PodResources was called, whatever the answer, oldest first.
    pub fn pod_resources_calls(&self) -> &[Instant] {
        &self.pod_resources_calls
    }

    /// How often the kubelet was started.
    pub fn starts(&self) -> usize {
        self.starts
    }

    fn shown(&self, resource: &str) -> Option<&Resource> {
        self.resources.get(resource).filter(|_| self.has_resource(resource))
    }

    /// Forgets resources whose grace period is over (manager.go, `GetCapacity`, called for each node status). True when
    /// there was one: the kubelet then writes its checkpoint.
    pub(super) fn forget_expired(&mut self) -> bool {
        let expired = |endpoint: &Endpoint| endpoint.expired(self.stop_grace);
        let gone: Vec<_> = self.endpoints.iter().filter(|(_, e)| expired(e)).map(|(name, _)| name.clone()).collect();
        for resource in &gone {
            self.endpoints.remove(resource);
            self.resources.remove(resource);
        }
        !gone.is_empty()
    }

    /// manager.go, `PluginListAndWatchReceiver`. The message counts for the resource, whichever client it came from.
    pub(super) fn take_listing(&mut self, client: &Client, message: &api::ListAndWatchResponse, received: Instant) {
        let known = self.resources.entry(client.resource.clone()).or_default();
        let before = std::mem::take(&mut known.all);
        known.replace(&message.devices);
        let mut changes: BTreeMap<_, _> =
            before.keys().filter(|id| !known.all.contains_key(*id)).map(|id| (id.clone(), None)).collect();
        for (id, device) in &known.all {
            if before.get(id) != Some(device) {
                changes.insert(id.clone(), Some(device.clone()));
            }
        }
        let listing = Listing {
            received,
            socket: client.socket.clone(),
            bytes: message.encoded_len(),
            healthy: known.healthy.len(),
            unhealthy: known.unhealthy.len(),
            changes,
        };
        self.listings.entry(client.resource.clone()).or_default().push(listing);
    }

    /// manager.go, `writeCheckpoint`.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let registered = |(name, known): (&String, &Resource)| (name.clone(), known.healthy.iter().cloned().collect());
        Checkpoint {
            pod_device_entries: self.pod_devices.to_entries(),
            registered_devices: self.resources.iter().map(registered).collect(),
        }
    }

    /// manager.go, `readCheckpoint`: the resources come back empty, with an endpoint that stopped just now.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) {
        self.pod_devices = PodDevices::from_entries(&checkpoint.pod_device_entries);
        self.allocated = self.pod_devices.devices();
        for resource in checkpoint.registered_devices.keys() {
            self.resources.insert(resource.clone(), Resource::default());
            self.endpoints.insert(resource.clone(), Endpoint::stopped());
        }
    }

    /// Frees the devices of pods that are no longer active (manager.go, `UpdateAllocatedDevices`); not before the pod
    /// sources are ready.
    pub(super) fn update_allocated_devices(&mut self) {
        if !self.sources_ready {
            return;
        }
        let active: BTreeSet<_> = self.cluster.active().map(|pod| pod.spec.uid.clone()).collect();
        let gone: Vec<_> = self.pod_devices.pods().filter(|uid| !active.contains(*uid)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for uid in &gone {
            self.pod_devices.remove(uid);
        }
        self.allocated = self.pod_devices.devices();
    }
}

/// What the kubelet's tasks and the observer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// The single admission loop (`pkg/kubelet/kubelet.go`, `syncLoop`).
    pub(super) admission: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(config: Config) -> Arc<Self> {
        let (changed, _) = watch::channel(());
        let state = State { sources: config.sources, ..State::default() };
        Arc::new(Self { config, state: Mutex::new(state), changed, admission: tokio::sync::Mutex::new(()) })
    }

    pub(super) fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes those who wait for a change.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.read());
        self.changed.send_replace(());
        result
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn write_checkpoint(&self) -> std::io::Result<()> {
        let checkpoint = self.read().checkpoint();
        checkpoint.write(&self.config.checkpoint_file())
    }
}
