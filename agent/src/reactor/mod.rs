//! The reactor: one thread, the only writer of facts.
//!
//! ```text
//! uevents ─┐                                    ┌─> tables and verdicts (allocator) ─> ListAndWatch
//! watches ─┼─> Reactor ─> Inventory::settle ────┼─> opened resources ─> Supervisor
//! timers  ─┤      │  ^                          └─> answers of the fence ─> PreStartContainer
//! grants  ─┘      v  │
//!        HostReader, OwnershipReader (never block this thread)
//! ```

mod announce;
mod fences;
mod file_io;
mod host_reader;
mod kubelet_watch;
mod node;
mod ownership_reader;
mod retries;
mod ring;
mod runtime;

pub use file_io::FileIo;
pub use node::{Channels, Command, NodeOptions, run};
pub use ring::ring_submissions;
pub use runtime::{ChosenIo, IoMode, Runtime, StartError};
