//! What the kernel probe and the daemon say to each other, byte for byte.
//!
//! ```text
//! daemon ── Config (offsets of this very kernel) ──> probe
//! daemon <─ Event (a ring buffer): "look" ────────── probe   something opened, closed, failed, left
//! daemon <─ OpenFile (an iterator's output) ──────── probe   every open VFIO file
//! daemon <─ Snapshot (an answer to a question) ───── probe   the count of one object now
//! daemon <─ Counters ─────────────────────────────── probe   what was seen and what was lost
//! ```
//!
//! Every structure is `repr(C)`, has no padding and the size that is asserted below it, so that both sides, built by
//! different compilers for different machines, mean the same bytes. All multi-byte values are in the byte order of the
//! host.

#![no_std]

mod config;
mod counters;
mod event;
mod files;

pub use config::{ABSENT, Config};
pub use counters::Counters;
pub use event::{Event, Kind, Text, severity};
pub use files::{Lookup, OpenFile, Snapshot};

/// `comm` of a task (kernel: `include/linux/sched.h`, `TASK_COMM_LEN`).
pub const COMMAND: usize = 16;
/// Room for the name of a device: an mdev's UUID has 36 characters, a PCI address 12 to 16.
pub const NAME: usize = 40;
/// Room for the name of a group: `noiommu-` and ten digits at most.
pub const GROUP: usize = 24;
/// A count that could not be read.
pub const UNKNOWN: u32 = u32::MAX;

/// Names of the maps in the object.
pub mod maps {
    /// The ring buffer of [`Event`](crate::Event)s.
    pub const EVENTS: &str = "EVENTS";
    /// An array of one [`Config`](crate::Config).
    pub const CONFIG: &str = "CONFIG";
    /// A per-CPU array of one [`Counters`](crate::Counters).
    pub const COUNTERS: &str = "COUNTERS";
    /// An array of one [`Snapshot`](crate::Snapshot): the answer to a lookup.
    pub const ANSWER: &str = "ANSWER";
}

/// A structure that may be read from any bytes of its length.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and every bit pattern is a value of it.
pub unsafe trait Plain: Copy + 'static {
    /// The structure that `bytes` hold; `None` when they are too few.
    #[must_use]
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        // SAFETY: there are enough bytes, the read needs no alignment, and the implementor vouches for the value.
        Some(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<Self>()) })
    }
}
