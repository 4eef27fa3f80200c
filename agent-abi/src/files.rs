//! What is open now: one record a file, and the answer to a question about one object.

use crate::{COMMAND, GROUP, NAME, Plain};

/// One descriptor of a VFIO file, from the iterator over all files of all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct OpenFile {
    /// The address of the `vfio_group` or `vfio_device`.
    pub object: u64,
    /// The address of the `file`: descriptors that `fork` and `dup` made have the same one.
    pub file: u64,
    /// The address of the device's `vfio_group`, the group's own for a group; 0 where there is none.
    pub group_object: u64,
    /// As in [`Event`](crate::Event).
    pub cgroup_id: u64,
    /// As in [`Event`](crate::Event).
    pub start_ns: u64,
    /// 1 for a device, 0 for a group.
    pub device: u32,
    /// As in [`Event`](crate::Event).
    pub tgid: u32,
    /// The number of the descriptor.
    pub fd: u32,
    /// As in [`Event`](crate::Event).
    pub count: u32,
    /// As in [`Event`](crate::Event).
    pub command: [u8; COMMAND],
    /// As in [`Event`](crate::Event).
    pub name: [u8; NAME],
    /// As in [`Event`](crate::Event).
    pub group: [u8; GROUP],
}

const _: () = assert!(size_of::<OpenFile>() == 136);

// SAFETY: integers and arrays of bytes in C's layout; 5 × 8 + 4 × 4 + 16 + 40 + 24 = 136 leaves no padding.
unsafe impl Plain for OpenFile {}

/// One object as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Snapshot {
    /// The address of the object.
    pub object: u64,
    /// The address of its group; 0 where there is none.
    pub group_object: u64,
    /// The kernel's own count of opens, [`UNKNOWN`](crate::UNKNOWN) where nothing readable is at the address.
    pub count: u32,
    /// 1 for a device, 0 for a group.
    pub device: u32,
    /// As in [`Event`](crate::Event).
    pub name: [u8; NAME],
    /// As in [`Event`](crate::Event).
    pub group: [u8; GROUP],
}

const _: () = assert!(size_of::<Snapshot>() == 88);

// SAFETY: integers and arrays of bytes in C's layout; 2 × 8 + 2 × 4 + 40 + 24 = 88 leaves no padding.
unsafe impl Plain for Snapshot {}

/// What can be asked: the second argument of a lookup. The first is an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Lookup {
    /// The group at this address.
    Group = 0,
    /// The device at this address.
    Device = 1,
    /// The first device of the group at this address.
    FirstDevice = 2,
    /// The device that follows the one at this address, in the group whose address is the third argument.
    NextDevice = 3,
}
