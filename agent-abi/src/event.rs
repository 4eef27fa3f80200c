//! An event of the probe.

use crate::{COMMAND, GROUP, NAME, Plain};

/// What happened. The numbers are what travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A group was opened (`open` of `/dev/vfio/N` succeeded).
    GroupOpened = 1,
    /// The last reference to a group's file is going; its count is not lowered yet.
    GroupClosing = 2,
    /// That came to its end.
    GroupClosed = 3,
    /// A device was opened: through its group, or its own node was opened, or bound to an IOMMU file.
    DeviceOpened = 4,
    /// The last reference to a device's file is going; its count is not lowered yet, and a reset may take seconds.
    DeviceClosing = 5,
    /// That came to its end.
    DeviceClosed = 6,
    /// The driver gives the device up (unbind, unplug): it waits for the holder.
    Removing = 7,
    /// An error was reported for a PCI device; [`Event::detail`] is its severity.
    Aer = 8,
    /// The kernel tells the VFIO driver of a device that errors are being recovered; [`Event::detail`] is the severity.
    Recovery = 9,
    /// A module of VFIO was loaded; [`Event::name`] is the module's.
    ModuleLoaded = 10,
    /// A module of VFIO is gone.
    ModuleFreed = 11,
    /// The daemon's own look at a device's file in sysfs.
    DeviceSeen = 12,
}

impl Kind {
    /// The kind of this number; `None` for a number that no kind has.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::GroupOpened,
            2 => Self::GroupClosing,
            3 => Self::GroupClosed,
            4 => Self::DeviceOpened,
            5 => Self::DeviceClosing,
            6 => Self::DeviceClosed,
            7 => Self::Removing,
            8 => Self::Aer,
            9 => Self::Recovery,
            10 => Self::ModuleLoaded,
            11 => Self::ModuleFreed,
            12 => Self::DeviceSeen,
            _ => return None,
        })
    }
}

/// Severities of PCI errors (kernel: `include/linux/aer.h`, `AER_NONFATAL` and its neighbours).
pub mod severity {
    /// Uncorrectable, the link still works.
    pub const NONFATAL: u32 = 0;
    /// Uncorrectable, the link is lost.
    pub const FATAL: u32 = 1;
    /// Corrected by the hardware.
    pub const CORRECTABLE: u32 = 2;
    /// Fatal, contained by Downstream Port Containment (since 6.9).
    pub const DPC_FATAL: u32 = 3;
}

/// One event. It says "look": the truth is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_BOOTTIME` without any time namespace's offset (`bpf_ktime_get_boot_ns`).
    pub at_boot_ns: u64,
    /// The address of the `vfio_group` or `vfio_device`; 0 for kinds without one.
    pub object: u64,
    /// The cgroup of the process in the unified hierarchy (`bpf_get_current_cgroup_id`).
    pub cgroup_id: u64,
    /// When the process began, in the same clock as [`Self::at_boot_ns`]; 0 when unknown.
    pub start_ns: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// The process (thread group) in the initial pid namespace.
    pub tgid: u32,
    /// The kernel's own count of opens at this moment, [`UNKNOWN`](crate::UNKNOWN) where it could not be read.
    pub count: u32,
    /// The thread for opens and closes, else a severity.
    pub detail: u32,
    /// The command of the process.
    pub command: [u8; COMMAND],
    /// The device's name (BDF or UUID), or the module's; empty for a group.
    pub name: [u8; NAME],
    /// The group's name: its number, perhaps behind `noiommu-`.
    pub group: [u8; GROUP],
}

const _: () = assert!(size_of::<Event>() == 128);

// SAFETY: integers and arrays of bytes in C's layout; 4 × 8 + 4 × 4 + 16 + 40 + 24 = 128 leaves no padding.
unsafe impl Plain for Event {}

impl Event {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        at_boot_ns: 0,
        object: 0,
        cgroup_id: 0,
        start_ns: 0,
        kind: 0,
        tgid: 0,
        count: crate::UNKNOWN,
        detail: 0,
        command: [0; COMMAND],
        name: [0; NAME],
        group: [0; GROUP],
    };
}

/// Text in a field of fixed size, ended by a zero byte where it is shorter.
pub struct Text;

impl Text {
    /// The bytes before the first zero.
    #[must_use]
    pub fn of(field: &[u8]) -> &[u8] {
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}
