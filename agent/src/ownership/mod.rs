//! The sources of ownership: the kubelet's checkpoint and its PodResources API.

mod bounded;
pub mod checkpoint;
mod kubelet;
mod pod_names;
pub mod pod_resources;
mod sources;

pub use kubelet::kubelet_up;
pub use pod_names::{PodNames, pod_names};
pub use sources::Sources;
