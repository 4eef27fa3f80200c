//! vfiod: a node agent that hands the host's VFIO devices to KubeVirt virtual machines.

pub mod cli;
pub mod config;
pub mod discovery;
pub mod monitor;
pub mod ownership;
pub mod plugin;
pub mod reactor;
pub mod telemetry;
