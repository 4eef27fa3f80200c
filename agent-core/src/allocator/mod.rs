//! The lock-free part: what an `Allocate` touches.
//!
//! ```text
//! Resource ──> Table (snapshot, swapped: index, marks, encoded list) ──> Slot (one device: verdict, prepared answer)
//!    │            └──> List (what one message says)                      └──> GroupWord (one IOMMU group: claim word)
//!    └──> Bell (version and wake-up of ListAndWatch)
//! ```
//!
//! One thread, the reactor, writes tables and verdicts; any thread reads them and claims. Nobody ever waits.
//!
//! Every interleaving of these is run by a model checker (`tests/loom.rs`):
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p vfiod-core --lib loom
//! ```

mod bell;
mod bits;
mod compact;
mod grant;
mod group_word;
mod index;
mod list;
mod preferred;
mod resource;
mod response;
mod slot;
mod sync;
mod table;
mod usual;
pub mod wire;

pub use bell::Bell;
pub use grant::{Answered, Grant, Refusal, Register};
pub use group_word::{ClaimState, GroupWord, Snapshot};
pub use list::{List, Piece};
pub use preferred::{PreferenceError, Wish};
pub use resource::{Resource, Variables};
pub use response::put_allocate_response;
pub(crate) use slot::Blueprint;
pub use slot::Slot;
pub use table::Table;

/// The most bytes of a `ListAndWatch` message. A kubelet receives 4 MiB (grpc-go's default) and drops the whole
/// resource past it (kubernetes#109304); a little room is kept for framing.
pub const MESSAGE_LIMIT: usize = 4 * 1024 * 1024 - 1024;

#[cfg(test)]
mod tests;
