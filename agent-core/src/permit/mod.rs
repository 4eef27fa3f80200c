//! What an administrator permits: documents, entries, and the devices they select.
//!
//! ```text
//! text ─> yaml ─> document ─> entry ─> assembly ─> Permit
//!         (tree)  (which      (each    (entries     (device ─> resource)
//!                  kind)       alone)   together)
//!                                          └─ reload: what is bad keeps its last good definition
//! ```
//!
//! A text that is no YAML, or has the wrong shape, is rejected as a whole; a bad entry rejects only itself. Every problem
//! names line, column, field, value, and what would be right.

mod assembly;
mod document;
mod durable;
mod entry;
pub(crate) mod fields;
pub(crate) mod finding;
mod reload;
mod resource;
mod selector;
mod serve;
mod settings;
mod table;
pub(crate) mod yaml;

pub use crate::resource_name::{ParseResourceNameError, ResourceName};
pub use finding::{Finding, Notice, Position, Problem};
pub use reload::{Beside, Parsed, decode, parse, parse_object};
pub use resource::{Origin, Resource};
pub use selector::normal_mdev_name;
pub use serve::{ParseServeModeError, ServeMode, Serving};
pub use settings::{RELEASE_WAIT_MAX, Settings};
pub use table::{Diff, Idle, Permit};
pub use yaml::DOCUMENT_MAX;

#[cfg(test)]
mod tests;
