//! vfiod: a node agent that hands the host's VFIO devices to KubeVirt virtual machines.
//!
//! Imports run downwards, without circles (`tests/tests/tree.rs` watches over it):
//!
//! ```text
//!                           cli                          one file a subcommand
//!                            │
//!                    admin   │                           metrics, readiness, the page
//!                      └─────┤
//!                         reactor                        the loop that ties the flows together
//!     ┌──────────┬───────────┼───────────┬──────────┐
//!  config    discovery    monitor    ownership    plugin
//!     │          │           │           │          │
//!  what is    what there  what        whose it   what the
//!  permitted  is          changes     is         kubelet calls
//!     └──────────┴───────────┼───────────┘
//!                            io                          event loop and files
//! ```
//!
//! All of them note what they do on the `board`, which operators read. What these mean, without any I/O, is `vfiod_core`. `conform` stands beside the reactor: it checks other plugins.

pub mod admin;
pub mod board;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod conform;
pub mod discovery;
pub mod holders;
pub mod instance;
pub mod io;
pub mod memory;
pub mod monitor;
pub mod ownership;
pub mod plugin;
pub mod probe;
pub mod reactor;
pub mod status;
pub mod telemetry;
