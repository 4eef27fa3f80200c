//! Who has what open, from the kernel's answers to what health and people are told.
//!
//! ```text
//! probe events ──> Tracker ──> Inventory (health), report (people)
//! census ──> Book (who is this process?) ──┘
//! ```
//!
//! The [`Tracker`] belongs to the reactor. The [`Book`] knows processes by what their cgroups say; it is filled on the
//! blocking pool, where a census is taken, and read on the reactor.

mod book;
mod clock;
mod report;
mod sight;
mod tracker;

pub use book::{Book, Taken};
pub use clock::at_boot;
pub use report::{Use, event, explain, held, usage};
pub use sight::Sight;
pub use tracker::Tracker;
