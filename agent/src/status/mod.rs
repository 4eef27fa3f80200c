//! The status socket: what a running vfiod tells other programs of its host.
//!
//! The API is `proto/proto/status/v1/status.proto`, over a Unix socket that only root can open. The server answers nothing
//! itself: every question goes to the reactor, which is the only one who knows.

mod client;
mod server;
mod socket;

pub use client::{Client, connect};
pub use server::{Look, Mark, Marked, Query, serve};
pub use socket::{BindError, DEFAULT_SOCKET};
