//! What can go wrong on a simulated node.

use std::{io, path::PathBuf};

/// Why an operation on a simulated node was refused.
///
/// Each variant but [`NodeError::Io`] stands for an error that the kernel itself would give; its errno is named.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The tree's own file system refused something.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Not a PCI address.
    #[error("{0:?} is not a PCI address: write dddd:bb:dd.f in hexadecimal, as in 0000:3b:00.0")]
    Address(String),
    /// Not a vendor and product number.
    #[error("{0:?} is not a PCI id: write VVVV:DDDD in hexadecimal, as in 10DE:1EB8")]
    PciId(String),
    /// Not a UUID.
    #[error("{0:?} is not a UUID, so it cannot name an mdev")]
    Uuid(String),
    /// A device of this name is there already (EEXIST).
    #[error("{0} exists already on this node")]
    Exists(String),
    /// No device of this name (ENODEV).
    #[error("the node has no device {0}: plug it, or create it, first")]
    NoDevice(String),
    /// No such IOMMU group on the node.
    #[error("the node has no IOMMU group {0}")]
    NoGroup(u32),
    /// The group has no device node, because no member is bound to VFIO.
    #[error("IOMMU group {0} has no node in /dev/vfio: bind one of its members to a VFIO driver first")]
    NoNode(u32),
    /// The device is bound already (EBUSY).
    #[error("{device} is bound to {driver}: unbind it first")]
    Bound {
        /// The device.
        device: String,
        /// Its driver.
        driver: String,
    },
    /// The device has no driver (ENODEV; ENOENT for `sriov_numvfs`).
    #[error("{0} has no driver: bind it first")]
    Unbound(String),
    /// A process has the device open.
    #[error("{0} is open: close it first")]
    Open(String),
    /// The device is not registered with VFIO, so it cannot be opened.
    #[error("{0} is not bound to a VFIO driver, so nobody can open it")]
    NotVfio(String),
    /// The device is being removed, and waits for its holder.
    #[error("{0} is being removed, which waits until an open device is closed")]
    Removing(String),
    /// The device is not one that can have virtual functions.
    #[error("{0} has no SR-IOV capability: describe it with PciSpec::sriov")]
    NoSriov(String),
    /// More virtual functions than the device offers (ERANGE).
    #[error("{device} offers {total} virtual functions, {asked} were asked for")]
    TooManyVfs {
        /// The physical function.
        device: String,
        /// What `sriov_totalvfs` says.
        total: u16,
        /// What was asked for.
        asked: u16,
    },
    /// Virtual functions exist; the kernel changes their number only through 0 (EBUSY).
    #[error("{device} has {enabled} virtual functions: set 0 before another number")]
    VfsEnabled {
        /// The physical function.
        device: String,
        /// How many it has.
        enabled: u16,
    },
    /// The mdev's parent offers no such type, or is not bound to the driver that offers it.
    #[error("{parent} offers no mdev type {type_id} now: describe it with mdev_type, and bind its driver")]
    NoMdevType {
        /// The parent device.
        parent: String,
        /// The folder name of the type.
        type_id: String,
    },
    /// The type has no instance left (EUSERS).
    #[error("{parent} has no instance of {type_id} left")]
    NoInstance {
        /// The parent device.
        parent: String,
        /// The folder name of the type.
        type_id: String,
    },
}

impl NodeError {
    /// Names the action and the path of an input/output error.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
