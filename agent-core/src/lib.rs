//! What can be proved of vfiod: the device model, permits, health, ownership and the allocator.
//!
//! Nothing here does I/O, and nothing here knows tokio, tonic or aya. Facts come in as values, answers go out as
//! values, so property tests and model checkers can run on all of it, and other programs can use it as a library.

pub mod allocator;
pub mod device;
pub mod events;
pub mod health;
pub mod holding;
pub mod hostdev;
pub mod inventory;
pub mod ownership;
pub mod permit;
mod resource_name;
pub mod variables;
