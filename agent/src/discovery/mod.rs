//! Discovery: what sysfs and devfs say about devices, groups and nodes.
//!
//! ```text
//! /sys/bus/pci/devices ─────> pci ───┐
//! /sys/bus/mdev/devices ────> mdev ──┼─> scan: devices, groups, nodes, and the faults met on the way
//! /sys/kernel/iommu_groups ─> iommu ─┤
//! /sys/class/vfio-dev ──────> cdevs ─┤
//! /sys/bus/pci/drivers ─────> bound ─┤
//! /dev/vfio ────────────────> nodes ─┘
//! ```
//!
//! What was found may be remembered ([`Remembered`]): a daemon that is started again reads only what has changed before its first
//! list.
//!
//! Everything here blocks and is meant for a small pool of threads. [`scan`] reads the whole host; [`read_device`],
//! [`read_group`] and [`read_nodes`] read as little as one event asks for.
//!
//! Rules that hold in all of it:
//! - Each device is survived for itself: one that vanishes while it is read is skipped, one that cannot be read
//!   becomes a [`Fault`], and the others are reported.
//! - A failure to read never looks like "no devices": see [`Scan::complete`] and [`Fault::device`].
//! - The last component of a link is what counts; its target need not exist. Nothing is canonicalised.
//! - Paths in answers are the host's own: the [`HostRoot`] is only a place to read from.

mod bound;
mod cdevs;
mod entry;
mod fault;
mod folder;
mod host_root;
mod iommu;
mod listing;
mod mdev;
mod nodes;
mod pci;
mod reader;
mod remembered;
mod scan;
mod target;

pub use fault::{Cause, Consequence, Fault};
pub use host_root::HostRoot;
pub use iommu::{UNREADABLE, read_group};
pub use nodes::read_nodes;
pub use remembered::Remembered;
pub use scan::{Again, Complete, Scan, look_again, scan};
pub use target::{Reading, read_device};

#[cfg(test)]
mod tests;
