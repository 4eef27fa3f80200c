//! The reactor: one thread, the only writer of facts.

mod file_io;
mod ring;
mod runtime;

pub use file_io::FileIo;
pub use ring::ring_submissions;
pub use runtime::{ChosenIo, IoMode, Runtime, StartError};
