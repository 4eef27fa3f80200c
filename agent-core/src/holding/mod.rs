//! Who has devices open, as the kernel says: holders, and what they are to the pods that own devices.
//!
//! A *holder* is a process; an *owner* is a pod. They meet here, in one place: a process is put into the pod that its
//! cgroup names, and a pod is known to own a device from the ledger.

mod object;
mod place;
mod process;
mod relation;

pub use object::{Held, Holdings, Object, Opening};
pub use place::Place;
pub use process::Process;
pub use relation::{Relation, relation};
