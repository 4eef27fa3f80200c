//! The consumer's side of the convention: from a VirtualMachineInstance to the host devices of its domain.
//!
//! ```text
//! text ──> machines (entries of gpus and hostDevices, each with its path)
//!             ├─> requests: what virt-controller asks of the kubelet
//!             └─> assign:   what virt-launcher makes of the container's environment
//!                              └─> HostDevice ─> libvirt XML, arguments of QEMU
//! ```
//!
//! It does what KubeVirt does, step by step, and where KubeVirt ends with "the number of … do not match" it says which
//! entry got nothing and which variable was looked for. Sources, all in github.com/kubevirt/kubevirt:
//!
//! | step | file | functions |
//! |---|---|---|
//! | requests | `pkg/virt-controller/services/resourcerenderer.go` | `WithGPUsDevicePlugins`, `WithHostDevicesDevicePlugins`, `Limits`, `validatePermittedHostDevices` |
//! | names of variables | `pkg/util/util.go` | `ResourceNameToEnvVar` |
//! | pools | `pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go` | `load`, `Pop` |
//! | devices | `pkg/virt-launcher/virtwrap/device/hostdevice/hostdev.go` and its folders `gpu` and `generic` | `CreatePCIHostDevices`, `CreateMDEVHostDevices`, `CreateUSBHostDevices` |
//! | order in the domain | `pkg/virt-launcher/virtwrap/converter/converter.go` | `Convert_v1_VirtualMachineInstance_To_api_Domain` |
//! | refusals at admission | `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go` | `validateMDEVRamFB` |

mod assign;
mod device;
mod display;
mod environment;
mod explain;
mod machine;
mod pool;
mod qemu;
mod read;
mod requests;
mod xml;

pub use assign::{Assignment, assign};
pub use device::{HostDevice, Source};
pub use environment::{Environment, ParseEnvironmentError};
pub use machine::{Entry, List, Machine, Wanted};
pub use qemu::qemu_arguments;
pub use read::{Machines, machines};
pub use requests::{Request, Requests, permitted, requests};
pub use xml::hostdev_xml;

#[cfg(test)]
mod tests;
