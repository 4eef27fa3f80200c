//! What the cluster is told as Events: which changes are worth one, and how often.
//!
//! ```text
//! Outcome ─> occurrences (what is news to a cluster) ─> Journal (series, limits) ─> Post (a creation or a repetition)
//! ```

mod journal;
mod kind;
mod occurrence;

pub use journal::{Journal, Post};
pub use kind::Kind;
pub use occurrence::{Occurrence, Subject, kind_of, occurrences};

#[cfg(test)]
mod tests;
