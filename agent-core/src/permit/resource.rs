//! One permitted resource: everything that its entries say together.

use super::{ResourceName, finding::Position, selector::Selector, serve::Serving, settings::Settings};
use crate::{
    device::PciId,
    variables::{Carried, variables},
};
use std::{collections::BTreeSet, fmt};

/// A permitted resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name, as the kubelet and KubeVirt know it.
    pub name: ResourceName,
    /// The PCI devices that it selects.
    pub pci: BTreeSet<PciId>,
    /// The mdev types that it selects, by normalized name ([`normal_mdev_name`](super::normal_mdev_name)).
    pub mdev: BTreeSet<String>,
    /// `envAliases`: names of variables that no rule yields.
    pub aliases: Vec<String>,
    /// `externalResourceProvider`.
    pub external: bool,
    /// Whether vfiod serves it, and why.
    pub serving: Serving,
    /// The entries that define it, in the order of the document.
    pub origins: Vec<Origin>,
}

/// The entry that a definition comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where the entry begins. A definition that outlived its document keeps the place it had there.
    pub at: Position,
    /// Its path, such as `permittedHostDevices.pciHostDevices[1]`.
    pub field: String,
    pub(super) selector: Selector,
}

impl Origin {
    /// What it selects, with the kind: `PCI 10de:1eb8`, `mdev GRID_T4-1Q`.
    #[must_use]
    pub fn selector(&self) -> impl fmt::Display {
        &self.selector
    }
}

impl Resource {
    /// Whether vfiod serves it.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.serving.is_served()
    }

    /// The names of all variables that carry its devices of one kind.
    #[must_use]
    pub fn variables(&self, kind: Carried, settings: &Settings) -> Vec<String> {
        variables(&self.name, kind, settings.env_names, &self.aliases)
    }

    /// Whether both mean the same, wherever it is written.
    #[must_use]
    pub fn is_same_definition(&self, other: &Self) -> bool {
        let Self { name, pci, mdev, aliases, external, serving, origins: _ } = self;
        let aliases: BTreeSet<_> = aliases.iter().collect();
        name == &other.name
            && pci == &other.pci
            && mdev == &other.mdev
            && aliases == other.aliases.iter().collect()
            && external == &other.external
            && serving == &other.serving
    }
}
