//! A simulated node and a simulated kubelet: for tests, benchmarks and the demo, of vfiod and of any other device plugin.

pub mod kubelet;
pub mod lab;
pub mod node;
