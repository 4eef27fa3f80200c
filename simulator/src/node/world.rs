//! What a node knows of itself: the objects behind the files.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use super::{
    Action, Kernel, NodeError, Uevent,
    address::{Address, PciId},
    netlink::Injector,
    removal::Removal,
    spec::{MdevType, Sriov},
    tree::Tree,
};

/// A node's objects, and the tree that shows them. Each file of this module adds the operations of one kernel subsystem.
#[derive(Debug)]
pub(super) struct World {
    pub(super) tree: Tree,
    pub(super) kernel: Kernel,
    pub(super) cdevs: bool,
    pub(super) character_devices: bool,
    pub(super) devices: BTreeMap<String, Device>,
    pub(super) parents: BTreeMap<String, Parent>,
    pub(super) groups: BTreeMap<u32, Group>,
    /// The folders of the drivers that are loaded.
    pub(super) drivers: HashSet<String>,
    pub(super) group_numbers: Numbers,
    pub(super) vfio_indices: Numbers,
    pub(super) minors: Numbers,
    /// Removals that wait for somebody to close a device.
    pub(super) blocked: Vec<Removal>,
    pub(super) injector: Option<Injector>,
    pub(super) observer: Option<Observer>,
    /// Whether the node is up: what happens before is no event.
    pub(super) live: bool,
    pub(super) events: Vec<Uevent>,
    seqnum: u64,
}

/// Somebody who wants to look at the tree when an event is sent.
pub(super) struct Observer(pub(super) Box<dyn FnMut(&Uevent) + Send>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A PCI function or an mdev.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// The BDF or UUID.
    pub(super) name: String,
    /// Its folder, from the root on: `sys/devices/…`.
    pub(super) folder: String,
    pub(super) driver: Option<String>,
    pub(super) group: Option<u32>,
    pub(super) vfio: Option<Registration>,
    /// Whether somebody has it open.
    pub(super) open: bool,
    /// Whether it is on its way from its driver.
    pub(super) unbinding: bool,
    /// Whether its `uevent` waits for its driver.
    pub(super) locked: bool,
    /// Whether it is on its way from its bus, and has no `uevent` any more.
    pub(super) leaving: bool,
    pub(super) kind: Kind,
}

/// A device's place with VFIO.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    /// Its number: `vfio-dev/vfioN`.
    pub(super) index: u32,
    /// Whether that folder is there.
    pub(super) listed: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Pci(Function),
    Mdev { parent: String, type_id: String },
}

/// What is particular to a PCI function.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) address: Address,
    pub(super) id: PciId,
    pub(super) subsystem: PciId,
    pub(super) class: u32,
    pub(super) numa: i32,
    pub(super) without_iommu: bool,
    pub(super) vgpu_type: Option<u32>,
    pub(super) sriov: Option<Sriov>,
    /// For a virtual function: the physical one, and its number there.
    pub(super) physfn: Option<(String, u16)>,
}

/// A parent of mdevs.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    pub(super) folder: String,
    /// Its bus or class, for its events.
    pub(super) subsystem: String,
    pub(super) types: Vec<MdevType>,
    /// The driver that offers the types.
    pub(super) driver: Option<String>,
    /// Whether the types can be seen.
    pub(super) registered: bool,
}

/// An IOMMU group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) backing: Backing,
    pub(super) members: BTreeSet<String>,
    /// The minor number of its node in `/dev/vfio`, while a member is registered with VFIO.
    pub(super) minor: Option<u32>,
}

/// What stands behind a group (kernel: `drivers/vfio/vfio.h`, `enum vfio_group_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    Iommu,
    /// An mdev: its parent translates.
    Emulated,
    NoIommu,
}

impl Device {
    /// A device without a driver, in no group yet.
    pub(super) const fn new(name: String, folder: String, kind: Kind) -> Self {
        Self {
            name,
            folder,
            driver: None,
            group: None,
            vfio: None,
            open: false,
            unbinding: false,
            locked: false,
            leaving: false,
            kind,
        }
    }

    pub(super) const fn bus(&self) -> &'static str {
        match self.kind {
            Kind::Pci(_) => "pci",
            Kind::Mdev { .. } => "mdev",
        }
    }

    /// Whether a driver of this name registers the device with VFIO.
    pub(super) fn is_vfio_driver(&self, driver: &str) -> bool {
        match &self.kind {
            Kind::Mdev { .. } => true,
            Kind::Pci(function) => {
                driver.split(['-', '_']).any(|word| word == "vfio")
                    || (driver == "nvidia" && function.vgpu_type.is_some_and(|number| number != 0))
            }
        }
    }
}

impl World {
    pub(super) fn new(tree: Tree, kernel: Kernel) -> Self {
        Self {
            tree,
            kernel,
            cdevs: false,
            character_devices: false,
            devices: BTreeMap::new(),
            parents: BTreeMap::new(),
            groups: BTreeMap::new(),
            drivers: HashSet::new(),
            group_numbers: Numbers::default(),
            vfio_indices: Numbers::default(),
            minors: Numbers::default(),
            blocked: Vec::new(),
            injector: None,
            observer: None,
            live: false,
            events: Vec::new(),
            seqnum: 0,
        }
    }

    pub(super) fn device(&self, name: &str) -> Result<&Device, NodeError> {
        self.devices.get(name).ok_or_else(|| NodeError::NoDevice(name.to_owned()))
    }

    pub(super) fn device_mut(&mut self, name: &str) -> Result<&mut Device, NodeError> {
        self.devices.get_mut(name).ok_or_else(|| NodeError::NoDevice(name.to_owned()))
    }

    /// Sends an event about the object in `folder`.
    pub(super) fn emit(
        &mut self,
        action: Action,
        folder: &str,
        subsystem: &str,
        properties: Vec<(&'static str, String)>,
    ) {
        if !self.live {
            return;
        }
        self.seqnum += 1;
        let devpath = folder.strip_prefix("sys").unwrap_or(folder).to_owned();
        let event = Uevent { action, devpath, subsystem: subsystem.to_owned(), properties, seqnum: self.seqnum };
        if let Some(injector) = &self.injector
            && let Err(error) = injector.inject(&event)
        {
            tracing::warn!(%event, %error, "the kernel refused an injected event");
        }
        if let Some(Observer(observer)) = &mut self.observer {
            observer(&event);
        }
        self.events.push(event);
    }

    /// Sends an event about a device, with the properties that its bus adds.
    pub(super) fn emit_device(&mut self, action: Action, device: &Device) {
        if !self.live {
            return;
        }
        let mut properties = device.properties();
        if action == Action::Unbind {
            // So that user space does not load the driver again (kernel: `lib/kobject_uevent.c`, `zap_modalias_env`).
            properties.retain(|(key, _)| *key != "MODALIAS");
        }
        self.emit(action, &device.folder, device.bus(), properties);
    }
}

/// Numbers in use; the lowest free one is next (kernel: `lib/idr.c`, `ida_alloc`).
#[derive(Debug, Default)]
pub(super) struct Numbers {
    used: BTreeSet<u32>,
    /// No number below is free.
    hint: u32,
}

impl Numbers {
    pub(super) fn lowest(&mut self) -> u32 {
        while !self.used.insert(self.hint) {
            self.hint += 1;
        }
        self.hint
    }

    pub(super) fn reserve(&mut self, number: u32) {
        self.used.insert(number);
    }

    pub(super) fn release(&mut self, number: u32) {
        if self.used.remove(&number) {
            self.hint = self.hint.min(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_given() {
        let mut numbers = Numbers::default();
        numbers.reserve(1);
        assert_eq!([numbers.lowest(), numbers.lowest(), numbers.lowest()], [0, 2, 3]);
        numbers.release(2);
        numbers.release(0);
        assert_eq!([numbers.lowest(), numbers.lowest(), numbers.lowest()], [0, 2, 4]);
    }
}
