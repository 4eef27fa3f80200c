//! One resource of the plugin under check.

use super::{
    address,
    host::Host,
    kubelet::{Dialled, Stream},
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use vfiod_proto::deviceplugin::{ContainerAllocateResponse, DevicePluginOptions};

/// A resource as the kubelet sees it: where it is served, what it lists, what it gives.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its name; unknown of a socket whose resource nobody told.
    pub(super) resource: Option<String>,
    pub(super) socket: PathBuf,
    pub(super) plugin: Dialled,
    pub(super) options: DevicePluginOptions,
    pub(super) stream: Stream,
    /// What single devices are given, once they were asked for.
    pub(super) probes: Vec<Probe>,
}

/// What one device alone is given.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) device: String,
    pub(super) response: ContainerAllocateResponse,
}

/// What every check is given.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) host: Host,
    /// How long anything that the plugin should do may take.
    pub(super) patience: Duration,
}

impl Subject {
    /// Its name for reports.
    pub(super) fn name(&self) -> &str {
        self.resource.as_deref().unwrap_or_default()
    }
}

impl Probe {
    /// The addresses that virt-launcher would find.
    pub(super) fn addresses(&self, resource: Option<&str>) -> Vec<String> {
        addresses(&self.response, resource)
    }

    /// Everything that the response names.
    pub(super) fn words(&self) -> BTreeSet<String> {
        words(&self.response)
    }
}

/// The addresses that virt-launcher would find in a response, in their order; those of one kind after those of another.
pub(super) fn addresses(response: &ContainerAllocateResponse, resource: Option<&str>) -> Vec<String> {
    let variables = address::read_by_launcher(&response.envs, resource);
    variables.iter().flat_map(|variable| address::split(&variable.value)).map(str::to_owned).collect()
}

/// What tells one device from another in a response: the parts of the variables, and the paths of device nodes.
pub(super) fn words(response: &ContainerAllocateResponse) -> BTreeSet<String> {
    let values = response.envs.values().flat_map(|value| value.split(',')).map(str::trim);
    let paths = response.devices.iter().map(|spec| spec.host_path.as_str());
    values.chain(paths).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
