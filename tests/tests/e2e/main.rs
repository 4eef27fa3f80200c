//! vfiod as the kubelet, an administrator and a stranger see it: the real binary, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod churn;
mod configuration;
mod discovery;
mod events;
mod faults;
mod groups;
mod health;
mod holders;
mod io_modes;
mod killed;
mod kubelet_life;
mod kubevirt;
mod message_limit;
mod ownership;
mod protocol;
mod remembered;
mod scene;
mod takeover;
mod upgrade;
mod watcher;
