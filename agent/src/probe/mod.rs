//! Who holds which VFIO device: the kernel's own answer.
//!
//! ```text
//! census  every open VFIO file and its process, as of now
//!         └─ proc   /proc/*/fd: works everywhere, names the group and not always the device
//! ```
//!
//! An [`Object`] is what can be open: a VFIO device, or the group through which it is opened. An [`Opening`] is one
//! process that has descriptors of an object. `docs/PROBE.md` says what each source knows and what it cannot know.

mod census;
mod object;
mod process;

pub use census::{Census, CensusTaker, Hidden, Opening, Source};
pub use object::{Object, ObjectKind};
pub use process::Process;
