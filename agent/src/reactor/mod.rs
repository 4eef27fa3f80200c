//! The reactor: one thread, the only writer of facts.
//!
//! ```text
//! uevents ─┐                                    ┌─> tables and verdicts (allocator) ─> ListAndWatch
//! watches ─┼─> Reactor ─> Inventory::settle ────┼─> opened resources ─> Supervisor
//! timers  ─┤      │  ^                          └─> answers of the fence ─> PreStartContainer
//! grants  ─┘      v  │
//!        HostReader, OwnershipReader, HolderWatch (never block this thread)
//! ```

mod announce;
mod channels;
mod facts_file;
mod fences;
mod holder_watch;
mod host_reader;
mod kubelet_watch;
mod lists;
mod marks;
mod node;
mod notes;
mod ownership_reader;
mod probe_start;
mod retries;

pub use channels::{Channels, Command, NodeOptions, RunError};
pub use node::run;
