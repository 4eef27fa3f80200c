//! The device plugin: one kubelet endpoint per resource.
//!
//! ```text
//! Supervisor ─ one Endpoint a resource ─┬─ registration: says to the kubelet where the socket is
//!                                       ├─ watcher: or the kubelet's plugin watcher finds it
//!                                       └─ server: ListAndWatch, Allocate, GetPreferredAllocation, PreStartContainer
//! ```
//!
//! Nothing here reads the host. Lists and verdicts come from `vfiod_core::allocator`, the fence asks the reactor.

mod allocate;
mod authority;
mod call;
mod connection;
mod desk;
mod endpoint;
mod grpc;
mod incoming;
mod kubelet;
mod list_and_watch;
mod pace;
mod pieces;
mod pre_start;
mod registration;
mod running;
mod server;
mod socket;
mod supervisor;
mod watcher;
mod way;

pub use allocate::environment;
pub(crate) use authority::Lenient;
pub use desk::{Clock, Desk, FenceAnswer, FenceQuery};
pub use kubelet::{KubeletFolder, KubeletSocket};
pub use socket::remove_stale_sockets;
pub use supervisor::Supervisor;
pub use way::RegistrationMode;
