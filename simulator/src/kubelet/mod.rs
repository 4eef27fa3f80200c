//! A kubelet: its device manager, as far as a plugin can see it.
//!
//! ```text
//! kubelet.sock ──> registration ──> client (dial back, options, ListAndWatch) ──> devices ──> checkpoint
//! plugins_registry <── plugin_watcher ──> client
//! admit(pod)   ──> admission ──> choice (re-use, preferred allocation) ──> Allocate ──> pod_devices ──> checkpoint
//! pod-resources/kubelet.sock <── pod_resources <── pods, pod_devices
//! ```
//!
//! ```no_run
//! # use std::time::Duration;
//! # use vfiod_simulator::kubelet::{Kubelet, PodSpec};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let kubelet = Kubelet::builder("/tmp/kubelet").start().await?;
//! // … start the plugin on /tmp/kubelet/device-plugins …
//! let seconds = Duration::from_secs;
//! kubelet.wait_for("two devices", seconds(10), |state| state.allocatable("intel.com/qat") == 2).await?;
//! let pod = kubelet.admit(PodSpec::new("default", "vm").container("compute", [("intel.com/qat", 1)])).await?;
//! let options = kubelet.start_container(pod.uid(), "compute").await?;
//! println!("{:?} {:?}", options.envs, options.devices);
//! kubelet.restart().await?;
//! kubelet.finish_pod(pod.uid());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Kubelet`] runs on its own thread and its own tokio runtime, so that killing it closes every connection and
//! drops every call at once, as the end of a process does. What the API server knows (pods) and what the observer
//! recorded (registrations, messages) survives a restart; what the kubelet keeps in memory does not.
//!
//! Each rule names the file and function of Kubernetes that it mirrors; where no folder is given, the file is in
//! `pkg/kubelet/cm/devicemanager`.

mod admission;
mod builder;
mod calls;
mod checkpoint;
mod choice;
mod client;
mod devices;
mod folders;
mod observe;
mod plugin_watcher;
mod pod_devices;
mod pod_resources;
mod pods;
mod process;
mod raw;
mod registration;
mod resource_name;
mod start_container;
mod state;
#[cfg(test)]
mod tests;

pub use admission::AdmissionError;
pub use builder::{Authority, KubeletBuilder, KubeletVersion, Sources};
pub use calls::{Call, Rpc};
pub use checkpoint::{Checkpoint, PodDevicesEntry};
pub use devices::{Device, Health};
pub use observe::NotReached;
pub use pod_devices::RunOptions;
pub use pods::{AdmittedContainer, AdmittedPod, ContainerSpec, Phase, PodSpec};
pub use process::{Kubelet, StartError};
pub use raw::{Answer, Plugin, call_with_authority};
pub use resource_name::is_extended_resource_name;
pub use start_container::ContainerError;
pub use state::{Listing, Registration, State};
