//! Which device is given to which container (pod_devices.go).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use vfiod_proto::deviceplugin as api;

use super::checkpoint::PodDevicesEntry;

/// The key under which the kubelet keeps devices without topology (manager.go, `nodeWithoutTopology`).
pub(super) const NO_TOPOLOGY: i64 = -1;

/// Device ids by NUMA node; a device of two nodes is under both.
pub(super) type DevicesPerNuma = BTreeMap<i64, Vec<String>>;

/// What one `Allocate` gave.
#[derive(Debug, Clone)]
pub(super) struct Allocation {
    pub(super) devices: DevicesPerNuma,
    pub(super) response: api::ContainerAllocateResponse,
}

impl Allocation {
    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.devices.values().flatten().cloned().collect()
    }
}

type Containers = BTreeMap<String, BTreeMap<String, Allocation>>;

/// Pod UID, container, resource.
#[derive(Debug, Default)]
pub(super) struct PodDevices(BTreeMap<String, Containers>);

impl PodDevices {
    pub(super) fn pods(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(super) fn insert(&mut self, uid: &str, container: &str, resource: &str, allocation: Allocation) {
        let containers = self.0.entry(uid.to_owned()).or_default();
        containers.entry(container.to_owned()).or_default().insert(resource.to_owned(), allocation);
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The allocations of a container by resource.
    pub(super) fn container(&self, uid: &str, container: &str) -> Option<&BTreeMap<String, Allocation>> {
        self.0.get(uid)?.get(container)
    }

    pub(super) fn allocation(&self, uid: &str, container: &str, resource: &str) -> Option<&Allocation> {
        self.container(uid, container)?.get(resource)
    }

    /// All ids in use, by resource (pod_devices.go, `devices`).
    pub(super) fn devices(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut devices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (resource, allocation) in self.0.values().flat_map(BTreeMap::values).flatten() {
            devices.entry(resource.clone()).or_default().extend(allocation.ids());
        }
        devices
    }

    /// pod_devices.go, `toCheckpointData`.
    pub(super) fn to_entries(&self) -> Vec<PodDevicesEntry> {
        let mut entries = Vec::new();
        for (uid, containers) in &self.0 {
            for (container, resources) in containers {
                for (resource, allocation) in resources {
                    entries.push(PodDevicesEntry {
                        pod_uid: uid.clone(),
                        container_name: container.clone(),
                        resource_name: resource.clone(),
                        device_ids: allocation.devices.clone(),
                        alloc_resp: allocation.response.encode_to_vec(),
                    });
                }
            }
        }
        entries
    }

    /// An entry whose response cannot be decoded is left out (pod_devices.go, `fromCheckpointData`).
    pub(super) fn from_entries(entries: &[PodDevicesEntry]) -> Self {
        let mut pod_devices = Self::default();
        for entry in entries {
            let Ok(response) = api::ContainerAllocateResponse::decode(entry.alloc_resp.as_slice()) else {
                tracing::warn!(pod = entry.pod_uid, "checkpoint entry with an undecodable response left out");
                continue;
            };
            let allocation = Allocation { devices: entry.device_ids.clone(), response };
            pod_devices.insert(&entry.pod_uid, &entry.container_name, &entry.resource_name, allocation);
        }
        pod_devices
    }
}

/// What the kubelet tells the container runtime: the answers of all resources of a container, merged. Of two values for
/// one key the first stays; the kubelet logs the other and goes on (pod_devices.go, `deviceRunContainerOptions`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOptions {
    /// Environment variables.
    pub envs: BTreeMap<String, String>,
    /// Device nodes, one per container path.
    pub devices: Vec<api::DeviceSpec>,
    /// Mounts, one per container path.
    pub mounts: Vec<api::Mount>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Names of CDI devices.
    pub cdi_devices: Vec<String>,
    /// What was dropped because an earlier answer had set it to something else.
    pub conflicts: Vec<String>,
}

impl RunOptions {
    pub(super) fn merge<'a>(allocations: impl IntoIterator<Item = &'a Allocation>) -> Self {
        let mut options = Self::default();
        for allocation in allocations {
            options.add(&allocation.response);
        }
        options
    }

    fn add(&mut self, response: &api::ContainerAllocateResponse) {
        let sorted: BTreeMap<_, _> = response.envs.iter().collect();
        for (key, value) in sorted {
            keep_first(&mut self.envs, &mut self.conflicts, "variable", key, value);
        }
        let sorted: BTreeMap<_, _> = response.annotations.iter().collect();
        for (key, value) in sorted {
            keep_first(&mut self.annotations, &mut self.conflicts, "annotation", key, value);
        }
        for spec in &response.devices {
            match self.devices.iter().find(|known| known.container_path == spec.container_path) {
                None => self.devices.push(spec.clone()),
                Some(known) if known.host_path == spec.host_path => {}
                Some(known) => self
                    .conflicts
                    .push(format!("device {}: {} and {}", spec.container_path, known.host_path, spec.host_path)),
            }
        }
        for mount in &response.mounts {
            match self.mounts.iter().find(|known| known.container_path == mount.container_path) {
                None => self.mounts.push(mount.clone()),
                Some(known) if known.host_path == mount.host_path => {}
                Some(known) => self
                    .conflicts
                    .push(format!("mount {}: {} and {}", mount.container_path, known.host_path, mount.host_path)),
            }
        }
        for cdi in &response.cdi_devices {
            if !self.cdi_devices.contains(&cdi.name) {
                self.cdi_devices.push(cdi.name.clone());
            }
        }
    }
}

fn keep_first(known: &mut BTreeMap<String, String>, conflicts: &mut Vec<String>, what: &str, key: &str, value: &str) {
    match known.get(key) {
        None => {
            known.insert(key.to_owned(), value.to_owned());
        }
        Some(first) if first == value => {}
        Some(first) => conflicts.push(format!("{what} {key}: {first} and {value}")),
    }
}
