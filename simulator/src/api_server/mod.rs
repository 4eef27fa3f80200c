//! An API server, as far as vfiod sees it: KubeVirt CRs with list and watch, and Events that are posted.
//!
//! It speaks HTTP on a port of this host, and follows the rules of Kubernetes' API concepts: resource versions, watches
//! from a version on, bookmarks, 410 Gone for what is forgotten. A test can take it away, bring it back at the same
//! address, cut its connections and have it refuse.

mod faults;
mod http;
mod process;
mod store;
#[cfg(test)]
mod tests;

pub use faults::{Gone, Refusal};
pub use process::ApiServer;
