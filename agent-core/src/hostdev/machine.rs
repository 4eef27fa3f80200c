//! A virtual machine as its document describes it: what it wants of the host.

use crate::permit::{Position, ResourceName};
use std::{collections::BTreeMap, fmt};

/// What a VirtualMachineInstance, or the template of one, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The kind of its document.
    pub kind: String,
    /// Its namespace, where the document names one.
    pub namespace: Option<String>,
    /// Its name, where the document gives one.
    pub name: Option<String>,
    /// Where its document begins.
    pub at: Position,
    /// The path of `spec.domain` in the document.
    pub domain: String,
    /// The entries of `gpus`, then those of `hostDevices`, each in their order.
    pub entries: Vec<Entry>,
    /// `spec.domain.resources.limits`: what is written there, by resource. Only whole numbers are kept.
    pub limits: BTreeMap<String, Written>,
    /// `spec.domain.resources.requests`, likewise.
    pub requests: BTreeMap<String, Written>,
    /// Whether it has a graphics device (`autoattachGraphicsDevice`), which a display needs.
    pub graphics: bool,
    /// Whether nothing is wrong with its document. If something is, the API server does not take it.
    pub sound: bool,
}

/// A quantity that the document sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How many.
    pub units: u64,
    /// Where.
    pub at: Position,
}

/// The list that an entry stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// `gpus`
    Gpus,
    /// `hostDevices`
    HostDevices,
}

/// One entry of `gpus` or `hostDevices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its list.
    pub list: List,
    /// Its path in the document, such as `spec.domain.devices.gpus[0]`.
    pub path: String,
    /// Where it begins.
    pub at: Position,
    /// Its `name`, which becomes the device's alias; empty where it has none.
    pub name: String,
    /// What it wants.
    pub wanted: Wanted,
    /// `virtualGPUOptions.display`.
    pub(super) display: Option<Display>,
}

/// Where the device of an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// From a device plugin: one unit of this resource (`deviceName`).
    Resource(ResourceName),
    /// From a resource claim (`claimName`), which no device plugin knows of.
    Claim,
}

/// `virtualGPUOptions.display`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Display {
    /// `enabled`, where it is written.
    pub(super) enabled: Option<bool>,
    /// `ramFB.enabled`; on unless the document says otherwise.
    pub(super) ramfb: bool,
}

impl List {
    /// The field's name.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Gpus => "gpus",
            Self::HostDevices => "hostDevices",
        }
    }

    /// Both, in the order in which virt-controller adds them up.
    pub const ALL: [Self; 2] = [Self::Gpus, Self::HostDevices];
}

impl Entry {
    /// The resource that it names.
    #[must_use]
    pub const fn resource(&self) -> Option<&ResourceName> {
        match &self.wanted {
            Wanted::Resource(name) => Some(name),
            Wanted::Claim => None,
        }
    }
}

impl Machine {
    /// The entries of one list that a device plugin serves, with their places in [`Self::entries`].
    pub fn plugged(&self, list: List) -> impl Iterator<Item = (usize, &Entry, &ResourceName)> {
        let of_list = self.entries.iter().enumerate().filter(move |(_, entry)| entry.list == list);
        of_list.filter_map(|(index, entry)| Some((index, entry, entry.resource()?)))
    }
}

impl fmt::Display for Machine {
    /// `VirtualMachineInstance vms/gpu`, as far as the document says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, "{} {namespace}/{name}", self.kind),
            (None, Some(name)) => write!(f, "{} {name}", self.kind),
            _ => write!(f, "{} in line {}", self.kind, self.at.line),
        }
    }
}
