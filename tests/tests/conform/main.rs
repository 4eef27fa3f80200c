//! `vfiod conform`, from outside: vfiod keeps every convention, and a plugin that is wrong in one way fails one check.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod running;
mod strangers;
mod vfiod;
mod wrong;
