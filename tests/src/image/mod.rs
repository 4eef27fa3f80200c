//! The image in a real engine: what `deploy/` asks for, on a containerd of its own, serving the simulator's kubelet.

mod checks;
mod container;
mod engine;

pub use checks::{Subject, run};
