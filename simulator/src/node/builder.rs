//! Building a node.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

use super::{
    Delivery, Injection, MdevFleet, MdevSpec, Node, NodeError, PciFleet, PciSpec, VirtualParent, netlink::Injector,
    spec::Grouping, tree::Tree, world::World,
};

/// The kernel that a node pretends to run, as far as the tree differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Kernel {
    /// Linux 5.15: devices bound to VFIO have no `vfio-dev` folder.
    V5_15,
    /// Linux 6.1: a removed device that is open keeps its `vfio-dev` folder until it is closed, and until then whoever
    /// reads its `uevent` waits.
    #[default]
    V6_1,
    /// Linux 6.12 and later: that folder goes at once.
    V6_12,
}

/// Collects what a node shall have. Devices come up in the order in which they are named.
#[derive(Debug, Default)]
#[must_use]
pub struct NodeBuilder {
    at: Option<PathBuf>,
    kernel: Kernel,
    cdevs: bool,
    character_devices: bool,
    injection: Injection,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Pci(Box<PciSpec>),
    VirtualParent(VirtualParent),
    Mdev(MdevSpec),
}

impl NodeBuilder {
    /// Builds the node in this folder, and leaves it there; without it, in a temporary one that goes with the node.
    pub fn at(mut self, folder: impl Into<PathBuf>) -> Self {
        self.at = Some(folder.into());
        self
    }

    /// The kernel it pretends to run.
    pub const fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Offers VFIO character devices (`/dev/vfio/devices/vfioN`, `CONFIG_VFIO_DEVICE_CDEV`, since Linux 6.6).
    pub const fn vfio_cdevs(mut self) -> Self {
        self.cdevs = true;
        self
    }

    /// Makes the nodes in `/dev` character devices that behave as `/dev/null`; needs `CAP_MKNOD`. Without it they are
    /// empty files.
    pub const fn character_devices(mut self) -> Self {
        self.character_devices = true;
        self
    }

    /// When to inject events into the kernel.
    pub const fn injection(mut self, injection: Injection) -> Self {
        self.injection = injection;
        self
    }

    /// Adds a PCI function.
    pub fn pci(mut self, spec: PciSpec) -> Self {
        self.parts.push(Part::Pci(Box::new(spec)));
        self
    }

    /// Adds many PCI functions.
    pub fn pci_fleet(self, fleet: &PciFleet) -> Self {
        fleet.functions().into_iter().fold(self, Self::pci)
    }

    /// Adds a parent of mdevs that is no PCI device.
    pub fn virtual_parent(mut self, spec: VirtualParent) -> Self {
        self.parts.push(Part::VirtualParent(spec));
        self
    }

    /// Adds an mdev; its parent comes before it.
    pub fn mdev(mut self, spec: MdevSpec) -> Self {
        self.parts.push(Part::Mdev(spec));
        self
    }

    /// Adds many mdevs, and their parents.
    pub fn mdev_fleet(self, fleet: &MdevFleet) -> Self {
        let with_parents = fleet.parents().into_iter().fold(self, Self::pci);
        fleet.mdevs().into_iter().fold(with_parents, Self::mdev)
    }

    /// Lays out the tree.
    ///
    /// # Errors
    /// A malformed or double address, id or UUID; a bridge, parent or group partner that is not there (yet); whatever the
    /// file system refuses.
    pub fn build(self) -> Result<Node, NodeError> {
        let (root, temporary) = match self.at {
            Some(root) => (root, None),
            None => {
                let folder = temporary_folder(self.parts.len())
                    .map_err(NodeError::io("make a temporary folder in", std::env::temp_dir()))?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let mut world = World::new(Tree::new(root.clone())?, self.kernel);
        world.cdevs = self.cdevs;
        world.character_devices = self.character_devices;
        lay_foundations(&mut world)?;
        for part in &self.parts {
            if let Part::Pci(spec) = part
                && let Grouping::Number(number) = spec.grouping
            {
                world.group_numbers.reserve(number);
            }
        }
        for part in self.parts {
            match part {
                Part::Pci(spec) => world.add_pci(*spec)?,
                Part::VirtualParent(spec) => world.add_virtual_parent(spec)?,
                Part::Mdev(spec) => world.create_mdev(spec)?,
            }
        }
        world.tree.settle()?;
        let delivery = match Injector::open(self.injection) {
            Ok(injector) => {
                world.injector = Some(injector);
                Delivery::Broadcast
            }
            Err(reason) => Delivery::ReturnedOnly(reason),
        };
        world.live = true;
        Ok(Node { root, delivery, world: Mutex::new(world), _temporary: temporary })
    }
}

/// From this many devices on, a disk takes minutes for what memory takes seconds for.
const MANY: usize = 1000;
/// What a device takes of a file system in memory: three files with a page each, and two dozen inodes.
const BYTES_PER_DEVICE: u64 = 48 << 10;

/// A folder that goes with its owner: in memory for a large node, where memory has the room and `TMPDIR` says nothing else.
fn temporary_folder(devices: usize) -> io::Result<TempDir> {
    let folder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("vfiod-node-");
        builder
    };
    if devices >= MANY
        && std::env::var_os("TMPDIR").is_none()
        && let Ok(memory) = rustix::fs::statvfs("/dev/shm")
        && memory.f_bavail.saturating_mul(memory.f_frsize) / 2 > devices as u64 * BYTES_PER_DEVICE
        && let Ok(made) = folder().tempdir_in("/dev/shm")
    {
        return Ok(made);
    }
    folder().tempdir()
}

/// The folders that a kernel with PCI, an IOMMU, mdev and VFIO has before it finds any device.
fn lay_foundations(world: &mut World) -> Result<(), NodeError> {
    for folder in [
        "sys/devices/virtual",
        "sys/bus/pci/devices",
        "sys/bus/pci/drivers",
        "sys/bus/mdev/devices",
        "sys/bus/mdev/drivers",
        "sys/class/vfio",
        "sys/class/vfio-dev",
        "sys/kernel/iommu_groups",
        "dev/vfio",
        "proc",
        "var/log/pods",
    ] {
        world.tree.folder(folder)?;
    }
    // The node is static: `MODULE_ALIAS("devname:vfio/vfio")` in drivers/vfio/container.c.
    world.device_node("dev/vfio/vfio", 0o666)
}

impl Node {
    /// Runs one operation and hands out the events that it caused.
    pub(super) fn operate<T>(
        &self,
        operation: impl FnOnce(&mut World) -> Result<T, NodeError>,
    ) -> Result<Vec<super::Uevent>, NodeError> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.events.clear();
        operation(&mut world)?;
        Ok(std::mem::take(&mut world.events))
    }

    /// Looks at the node's own book.
    pub(super) fn look<T>(&self, question: impl FnOnce(&World) -> T) -> T {
        question(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
