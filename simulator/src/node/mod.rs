//! A node in a folder: sysfs and devfs as the kernel lays them out.
//!
//! An agent reads it through its host root: `vfiod devices --host-root DIR`. The tree is built from descriptions
//! ([`PciSpec`], [`MdevSpec`], whole [fleets](PciFleet)) and lives on through operations: each changes files, links and
//! nodes one by one in the order in which a kernel does, sends the events at the moments at which a kernel does, and
//! returns them. Which kernel function decides an order or a text is said where it is followed.
//!
//! ```
//! use vfiod_simulator::node::{Node, PciSpec};
//!
//! # fn main() -> Result<(), vfiod_simulator::node::NodeError> {
//! let node = Node::builder()
//!     .pci(PciSpec::bridge("0000:3a:00.0").numa(0))
//!     .pci(PciSpec::new("0000:3b:00.0", "10DE:1EB8").behind("0000:3a:00.0").driver("vfio-pci").numa(0).group(12))
//!     .pci(PciSpec::new("0000:3b:00.1", "10DE:10F8").behind("0000:3a:00.0").class(0x04_03_00)
//!         .driver("snd_hda_intel").sharing_group_with("0000:3b:00.0"))
//!     .build()?;
//! assert!(node.path("dev/vfio/12").exists());
//!
//! let events = node.unbind("0000:3b:00.0")?;
//! assert_eq!(events.last().unwrap().to_string(), "unbind@/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0");
//! assert!(!node.path("dev/vfio/12").exists());
//! # Ok(())
//! # }
//! ```
//!
//! The tests compare files, links and events with a recording of Linux 6.1 that was taken through the same steps.
//!
//! Not simulated: `config`, `resource*` and other files that only a driver reads, `pci_bus`, `sys/dev/char`.
//! Read-only files with the same text are hard links to one inode: a test that wants another text uses
//! [`Node::write_path`].

mod address;
mod batch;
mod binding;
mod builder;
mod error;
mod faults;
mod fleet;
mod hotplug;
mod iommu;
mod mdev;
mod netlink;
mod pci;
mod process;
mod removal;
mod spec;
mod sriov;
mod tree;
mod uevent;
mod vfio;
mod world;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

#[cfg(test)]
mod tests;

use self::{
    address::Address,
    mdev::canonical_uuid,
    removal::Removal,
    world::{Observer, World},
};
pub use self::{
    builder::{Kernel, NodeBuilder},
    error::NodeError,
    faults::Fault,
    fleet::{MdevFleet, PciFleet},
    netlink::{Delivery, Injection, enter_private_network},
    process::{Process, ProcessSpec},
    spec::{MdevSpec, MdevType, PciSpec, Sriov, VirtualParent},
    uevent::{Action, Uevent},
};

/// A simulated node. It may be shared by threads; operations happen one after the other.
#[derive(Debug)]
pub struct Node {
    root: PathBuf,
    delivery: Delivery,
    world: Mutex<World>,
    /// Held for its end: the folder goes with the node.
    _temporary: Option<TempDir>,
}

impl Node {
    /// Begins a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// The folder that stands for `/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root, with or without a leading slash.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below.trim_start_matches('/'))
    }

    /// Whether events reach listeners on this machine, and why not. A test that gets [`Delivery::ReturnedOnly`] gives
    /// its agent a short rescan interval instead.
    #[must_use]
    pub const fn uevents(&self) -> &Delivery {
        &self.delivery
    }

    /// Calls a function at each event from now on, at the moment at which the kernel sends it: half of an operation is done,
    /// and what the function reads is what a quick listener would. It must not call the node itself.
    pub fn on_event(&self, observer: impl FnMut(&Uevent) + Send + 'static) {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).observer = Some(Observer(Box::new(observer)));
    }

    /// The names of all devices: BDFs, then UUIDs, each in order.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        let mut names: Vec<String> = self.look(|world| world.devices.keys().cloned().collect());
        names.sort_by_key(|name| (!name.contains(':'), name.clone()));
        names
    }

    /// The folder of a device, with links resolved: `DIR/sys/devices/…`.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`].
    pub fn device_path(&self, name: &str) -> Result<PathBuf, NodeError> {
        self.look(|world| world.device(&canonical(name)).map(|device| self.path(&device.folder)))
    }

    /// The number of a device's IOMMU group, if it is in one.
    #[must_use]
    pub fn group_of(&self, name: &str) -> Option<u32> {
        self.look(|world| world.devices.get(&canonical(name))?.group)
    }

    /// The driver to which a device is bound.
    #[must_use]
    pub fn driver_of(&self, name: &str) -> Option<String> {
        self.look(|world| world.devices.get(&canonical(name))?.driver.clone())
    }

    /// Binds a device to a driver, as `drivers_probe` does.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Bound`].
    pub fn bind(&self, device: &str, driver: &str) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.bind(&canonical(device), driver))
    }

    /// Takes a device from its driver: the `driver` link goes, then the group's node if no other member is bound to VFIO,
    /// then `unbind` is sent. Virtual functions and mdevs of the device go with the driver.
    ///
    /// While somebody has the device open ([`hold`](Self::hold)) the kernel stops half-way, and so does the node: the
    /// `driver` link is gone and the node still there. The rest happens in [`let_go`](Self::let_go).
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Unbound`], [`NodeError::Removing`].
    pub fn unbind(&self, device: &str) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.start(Removal::Unbind(canonical(device))))
    }

    /// Hot-plugs a PCI function, and binds its driver if it has one.
    ///
    /// # Errors
    /// As [`NodeBuilder::build`].
    pub fn plug(&self, spec: PciSpec) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.add_pci(spec))
    }

    /// Hot-unplugs a PCI function and all that is below it: first the drivers go, then nodes, groups, links and folders.
    /// An open device stops it, as it stops [`unbind`](Self::unbind).
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Removing`].
    pub fn unplug(&self, bdf: &str) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.start(Removal::Unplug(canonical(bdf))))
    }

    /// Creates an mdev, as a UUID written to its type's `create` does.
    ///
    /// # Errors
    /// [`NodeError::Uuid`], [`NodeError::Exists`], [`NodeError::NoMdevType`], [`NodeError::NoInstance`].
    pub fn create_mdev(&self, spec: MdevSpec) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.create_mdev(spec))
    }

    /// Removes an mdev, as `1` written to its `remove` does; it waits if the mdev is open.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Uuid`], [`NodeError::Removing`].
    pub fn remove_mdev(&self, uuid: &str) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.start(Removal::Mdev(canonical(uuid))))
    }

    /// Sets the number of a device's virtual functions.
    ///
    /// # Errors
    /// [`NodeError::NoSriov`], [`NodeError::TooManyVfs`], [`NodeError::VfsEnabled`], [`NodeError::Unbound`].
    pub fn set_numvfs(&self, bdf: &str, count: u16) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.start(Removal::Vfs(canonical(bdf), count)))
    }

    /// Writes NVIDIA's `current_vgpu_type` of a function that is bound to `nvidia`.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Unbound`].
    pub fn set_vgpu_type(&self, bdf: &str, number: u32) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.set_vgpu_type(&canonical(bdf), number))
    }

    /// Says that a process has a device open, as a virtual machine does: from now on removals wait for it.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::NotVfio`].
    pub fn hold(&self, device: &str) -> Result<(), NodeError> {
        self.operate(|world| world.hold(&canonical(device))).map(drop)
    }

    /// Says that the device was closed: removals that waited for it go on, and their events are returned.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`].
    pub fn let_go(&self, device: &str) -> Result<Vec<Uevent>, NodeError> {
        self.operate(|world| world.let_go(&canonical(device)))
    }

    /// Takes away the node of a group in `/dev/vfio`, as a stray `rm` does. Sysfs does not change, and there is no event.
    ///
    /// # Errors
    /// [`NodeError::NoGroup`], [`NodeError::NoNode`].
    pub fn node_gone(&self, group: u32) -> Result<(), NodeError> {
        self.operate(|world| world.node_gone(group)).map(drop)
    }

    /// Puts back what [`node_gone`](Self::node_gone) took.
    ///
    /// # Errors
    /// [`NodeError::NoGroup`], [`NodeError::NoNode`].
    pub fn node_back(&self, group: u32) -> Result<(), NodeError> {
        self.operate(|world| world.node_back(group)).map(drop)
    }
}

/// A device's name in the form in which the kernel writes it.
fn canonical(name: &str) -> String {
    name.parse::<Address>()
        .map(|address| address.to_string())
        .or_else(|_| canonical_uuid(name))
        .unwrap_or_else(|_| name.to_owned())
}
