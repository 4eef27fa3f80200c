//! The event loop of the reactor thread and the way files are read on it: io_uring, or epoll where it is forbidden.
//!
//! ```text
//! Runtime::start(--io) ─> the event loop, and ChosenIo: which one it became and why
//!                              └─ FileIo: reads a whole file through a ring, or through threads
//! ```

mod file_io;
mod replace;
mod ring;
mod ring_files;
mod runtime;

pub use file_io::{FileIo, read_now};
pub use replace::replace;
pub use ring::ring_submissions;
pub use runtime::{ChosenIo, IoMode, Runtime, StartError};
