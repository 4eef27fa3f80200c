//! All permitted resources, and the one that a device belongs to.

use super::{
    ResourceName,
    finding::Position,
    resource::Resource,
    selector::{Selector, normal_mdev_name},
    settings::Settings,
};
use crate::device::{Device, Kind, PciId};
use rustc_hash::FxHashMap;
use std::{collections::HashMap, fmt, sync::Arc};

/// Everything that is permitted. Immutable; a reload makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Permit {
    resources: Vec<Arc<Resource>>,
    by_name: HashMap<ResourceName, usize>,
    by_pci: FxHashMap<PciId, usize>,
    by_mdev: HashMap<String, usize>,
    settings: Settings,
}

/// A permit of which vfiod serves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// How many resources are permitted.
    pub permitted: usize,
}

/// What changed between two permits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Resources that only the new one has.
    pub added: Vec<ResourceName>,
    /// Resources that only the old one has.
    pub removed: Vec<ResourceName>,
    /// Resources that both have, with different definitions.
    pub changed: Vec<ResourceName>,
    /// Whether the settings differ.
    pub settings: bool,
}

impl Permit {
    /// The resources must not select the same device.
    pub(super) fn new(resources: Vec<Resource>, settings: Settings) -> Self {
        let mut permit = Self { settings, ..Self::default() };
        for (index, resource) in resources.into_iter().enumerate() {
            permit.by_name.insert(resource.name.clone(), index);
            permit.by_pci.extend(resource.pci.iter().map(|id| (*id, index)));
            permit.by_mdev.extend(resource.mdev.iter().map(|name| (name.clone(), index)));
            permit.resources.push(Arc::new(resource));
        }
        permit
    }

    pub(super) fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The resource that a device belongs to, served or not.
    #[must_use]
    pub fn resource_of(&self, device: &Device) -> Option<&Arc<Resource>> {
        let index = match &device.kind {
            Kind::Pci { pci_id, .. } => self.by_pci.get(pci_id),
            Kind::Mdev(mdev) => self.by_mdev.get(normal_mdev_name(&mdev.type_name).as_ref()),
        };
        self.resources.get(*index?)
    }

    pub(super) fn selected_by(&self, selector: &Selector) -> Option<&Arc<Resource>> {
        let index = match selector {
            Selector::Pci(id) => self.by_pci.get(id),
            Selector::Mdev(name) => self.by_mdev.get(name),
        };
        self.resources.get(*index?)
    }

    /// A resource by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(*self.by_name.get(name)?)
    }

    /// All resources, in the order of the document.
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The resources that vfiod serves.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().filter(|resource| resource.is_served())
    }

    /// vfiod's settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says so when nothing is served: its text names the remedy.
    #[must_use]
    pub fn idle(&self) -> Option<Idle> {
        self.served().next().is_none().then_some(Idle { permitted: self.resources.len() })
    }

    /// What changed from `old` to `new`, by name.
    #[must_use]
    pub fn diff(old: &Self, new: &Self) -> Diff {
        let mut diff = Diff { settings: old.settings != new.settings, ..Diff::default() };
        for resource in &new.resources {
            match old.get(resource.name.as_str()) {
                None => diff.added.push(resource.name.clone()),
                Some(before) if !before.is_same_definition(resource) => diff.changed.push(resource.name.clone()),
                Some(_) => {}
            }
        }
        let gone = old.resources.iter().filter(|resource| new.get(resource.name.as_str()).is_none());
        diff.removed.extend(gone.map(|resource| resource.name.clone()));
        diff
    }
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.permitted {
            0 => f.write_str(
                "no resource is permitted, so vfiod serves nothing; add entries to permittedHostDevices.pciHostDevices \
                 or .mediatedDevices",
            ),
            n => write!(
                f,
                "of {n} permitted resources none is served: no entry is marked externalResourceProvider: true, so they \
                 are left to KubeVirt's own device plugins; mark the entries that vfiod shall serve, or start vfiod with \
                 --serve all"
            ),
        }
    }
}

impl Idle {
    /// As a finding about the whole document.
    pub(super) fn finding(self) -> super::Notice {
        let text = self.to_string();
        let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
        super::Notice::new(Position::START, "permittedHostDevices", what, remedy)
    }
}
