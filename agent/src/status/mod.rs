//! The status socket: what a running vfiod tells other programs of its host.
//!
//! ```text
//! reactor ── Feed ──> Model ──> Follow, /events, /status, metrics of holders
//!    ^──── Query ───────────── Devices, Holders, Explain, Cordon …
//! ```
//!
//! The API is `proto/proto/status/v1/status.proto`, over a Unix socket that only root can open. What needs a fresh look at
//! the kernel goes to the reactor; what is listed, and who has it, the model knows without disturbing anybody.

mod candidates;
mod client;
mod feed;
mod follow;
mod model;
mod row;
mod server;
mod socket;

pub use candidates::{Permitted, Piece, candidates, permitted, piece, remarks};
pub use client::{Client, connect};
pub use feed::{Feed, Note};
pub use follow::updates;
pub use model::{Ask, Asks, Followed, Held, Model};
pub use row::{row_of, rows_of_host};
pub use server::{First, Look, Mark, Marked, Query, serve};
pub use socket::{BindError, DEFAULT_SOCKET};
