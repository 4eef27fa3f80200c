//! The cluster: the KubeVirt CR as the source of what is permitted, and the Events that vfiod tells it.
//!
//! ```text
//! API server ──> follow (list, watch) ──> choose ──> Document ──> reactor (config) ──> cache, on disk
//!                     └── Board: what readiness, metrics and people are told
//!            <── Reporter (series, limits) <── occurrences <── reactor
//! ```
//!
//! It runs on a thread of its own ([`start`]), because nothing here may delay an answer to the kubelet: a handshake of TLS,
//! or the decoding of a large CR, takes milliseconds in which the endpoint thread would answer nobody.

mod cache;
mod choose;
mod client;
mod cr_name;
mod document;
mod follow;
mod pause;
mod reporter;
mod thread;

pub use cache::Cache;
pub use cr_name::CrName;
pub use document::Document;
pub use reporter::host_name;
pub use thread::{EventOrders, Orders, start};
