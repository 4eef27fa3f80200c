//! vfiod as the kubelet, an administrator and a stranger see it: the real binary, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod discovery;
mod groups;
mod kubelet_life;
mod ownership;
mod scene;
