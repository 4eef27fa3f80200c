//! Devices of each resource, as the kubelet keeps them.

use std::collections::{BTreeMap, BTreeSet};

use vfiod_proto::deviceplugin as api;

/// What a plugin says of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// May be allocated.
    Healthy,
    /// May not. Every text other than `Healthy` means this (manager.go, `genericDeviceUpdateCallback`).
    Unhealthy,
}

/// A device as last listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Health.
    pub health: Health,
    /// NUMA nodes; empty when the plugin gave no topology.
    pub numa: Vec<i64>,
}

impl From<&api::Device> for Device {
    fn from(device: &api::Device) -> Self {
        let health = if device.health == vfiod_proto::HEALTHY { Health::Healthy } else { Health::Unhealthy };
        let numa = device.topology.iter().flat_map(|topology| topology.nodes.iter().map(|node| node.id)).collect();
        Self { health, numa }
    }
}

/// One resource. `healthy` and `unhealthy` decide capacity and admission; `all` is what the last message said.
#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) healthy: BTreeSet<String>,
    pub(super) unhealthy: BTreeSet<String>,
    pub(super) all: BTreeMap<String, Device>,
}

impl Resource {
    /// Takes a message as the full list that it is (manager.go, `genericDeviceUpdateCallback`).
    pub(super) fn replace(&mut self, devices: &[api::Device]) {
        self.healthy.clear();
        self.unhealthy.clear();
        self.all.clear();
        for device in devices {
            let known = Device::from(device);
            let set = if known.health == Health::Healthy { &mut self.healthy } else { &mut self.unhealthy };
            set.insert(device.id.clone());
            self.all.insert(device.id.clone(), known);
        }
    }

    /// Moves every healthy device over, and leaves `all` as it is (manager.go, `markResourceUnhealthy`).
    pub(super) fn mark_unhealthy(&mut self) {
        self.unhealthy.append(&mut self.healthy);
    }

    pub(super) fn has_topology(&self) -> bool {
        self.all.values().any(|device| !device.numa.is_empty())
    }

    pub(super) fn numa(&self, id: &str) -> &[i64] {
        self.all.get(id).map_or(&[], |device| &device.numa)
    }
}
