//! Who holds which VFIO device: the kernel's own answer.
//!
//! ```text
//! Probe::start ─> Probe ── next ──> Batch of Events   the instant something is opened or closed
//!      │            └───── counts ─> the kernel's own counts, now
//!      └────────> CensusTaker ────> Census           every open VFIO file and its process
//! CensusTaker::from_proc ─────────> Census           the same without a probe, as far as /proc knows
//! ```
//!
//! An [`Object`] is what can be open: a VFIO device, or the group through which it is opened. An [`Event`] is a bell; the
//! truth about an object is its count, which is read from the kernel, and its holders are what the census shows.
//!
//! Start the probe first and take the census then: whatever is opened or closed meanwhile is in both, and counts once,
//! because both name objects by the same key. `docs/PROBE.md` has it all, and what each source cannot know.

mod attach;
mod btf;
mod capabilities;
mod census;
mod clock;
mod closing;
mod event;
mod hooks;
mod layout;
mod loading;
mod lookup;
mod losses;
mod mode;
mod object;
mod object_file;
mod pins;
mod preflight;
mod process;
mod running;

pub use capabilities::{Grant, give_up};
pub use census::{Census, CensusTaker, Hidden, Opening, Source};
pub use event::{Batch, Event, EventKind, Severity};
pub use hooks::{Attachment, HookState};
pub use loading::{Loaded, ProbeOptions, Rehearsal};
pub use losses::Losses;
pub use mode::{Absent, Missing, ProbeMode};
pub use object::{Object, ObjectKind};
pub use object_file::{ObjectError, verify};
pub use pins::{DEFAULT_PINS, are_free as pins_are_free};
pub use process::Process;
pub use running::Probe;
