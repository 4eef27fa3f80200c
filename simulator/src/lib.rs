//! A simulated node, a simulated kubelet and a simulated API server: for tests, benchmarks and the demo, of vfiod and of
//! any other device plugin.

pub mod api_server;
pub mod kubelet;
pub mod kubevirt_plugin;
pub mod lab;
pub mod node;
