//! Tests of vfiod that need more than one crate: end to end on a simulated node, and inside a virtual machine on a
//! real kernel.

pub mod agent;
pub mod browser;
pub mod cluster;
pub mod demo;
pub mod image;
pub mod manifests;
pub mod vm;
pub mod web;

pub use agent::{Agent, AgentBuilder};
