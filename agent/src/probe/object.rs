//! What can be open: a VFIO device, or the group of devices through which it is opened.

use std::fmt;
use vfiod_core::device::{DeviceId, GroupId};

/// Which structure of the kernel an [`Object`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `struct vfio_group`: the node `/dev/vfio/N`. One process at a time opens it.
    Group,
    /// `struct vfio_device`: a PCI function or an mdev, opened through its group or through its own node.
    Device,
}

/// A VFIO device or a VFIO group of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    /// Which of the two.
    pub kind: ObjectKind,
    /// The device; always `None` for a group, and for a device that the source cannot name.
    pub device: Option<DeviceId>,
    /// The group itself, or the device's group; `None` where the source cannot tell.
    pub group: Option<GroupId>,
    /// The address of the kernel's structure: the same in events, counts and the census for as long as the object lives.
    /// 0 where the source does not know it (`/proc`). An address may be used again when an object is gone, so it counts
    /// only together with the names.
    pub key: u64,
}

impl Object {
    /// A group, as a source without addresses knows it.
    #[must_use]
    pub const fn of_group(group: GroupId) -> Self {
        Self { kind: ObjectKind::Group, device: None, group: Some(group), key: 0 }
    }

    /// A device, as a source without addresses knows it.
    #[must_use]
    pub const fn of_device(device: Option<DeviceId>, group: Option<GroupId>) -> Self {
        Self { kind: ObjectKind::Device, device, group, key: 0 }
    }

    /// Whether this is a group and not one of its devices.
    #[must_use]
    pub const fn is_group(&self) -> bool {
        matches!(self.kind, ObjectKind::Group)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.device, self.group) {
            (_, Some(device), _) => write!(f, "device {device}"),
            (ObjectKind::Group, None, Some(group)) => write!(f, "group {group}"),
            (ObjectKind::Device, None, Some(group)) => write!(f, "a device of group {group}"),
            (_, None, None) => f.write_str("a VFIO file that cannot be named"),
        }
    }
}
