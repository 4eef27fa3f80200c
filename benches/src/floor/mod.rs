//! The floor: the fastest device plugin that tonic allows, and no more than that.
//!
//! It is told what it serves ([`Plan`](crate::plan::Plan)), encodes everything beforehand, answers with prepared bytes
//! looked up by packed address, and believes every id and every event. It has one thread and one inotify watch, read by
//! the stream of `ListAndWatch` itself: from the event to the wire there is no hop at all.

mod book;
mod codec;
mod server;
mod watch;

pub use server::serve;
