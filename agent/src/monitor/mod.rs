//! What changes on the host: uevents and file watches.

mod readable;
pub mod uevent;
pub mod watch;
