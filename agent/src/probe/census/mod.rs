//! The census: every open VFIO file and who has it, as of one moment.

mod kernel;
mod proc;

use super::{Grant, Object, Process, give_up, layout::KernelLayout, object_file::ObjectError};
use crate::discovery::HostRoot;
use arc_swap::ArcSwap;
use aya::{Btf, EbpfLoader};
use kernel::KernelCensus;
use proc::ProcCensus;
use std::{
    fmt, io,
    sync::{
        Arc,
        mpsc::{self, Sender, SyncSender},
    },
    thread,
};
use tracing::warn;

/// Who has what open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Where this comes from, and so what it can know.
    pub source: Source,
    /// Each process with each object that it has descriptors of.
    pub openings: Vec<Opening>,
    /// Objects that are open more often than descriptors show. Always empty when [`Source::Proc`] was asked.
    pub hidden: Vec<Hidden>,
    /// Processes whose descriptors could not be looked at; they may hold anything.
    pub unreadable: u32,
}

/// Where a census comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The kernel's own tables, through the probe: exact, with names, counts and addresses.
    Kernel,
    /// `/proc/*/fd`: names groups always and devices only where the kernel says them in `fdinfo` (7.2 does), or where
    /// they were opened through their own node.
    Proc,
}

/// One process that has descriptors of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What is open.
    pub object: Object,
    /// Who has it.
    pub process: Process,
    /// How many descriptors of it the process has; after `fork` and `dup` these may all stand for one open.
    pub fds: u32,
    /// How often the kernel counts the object as open; `None` when the source does not know.
    pub open_count: Option<u32>,
}

/// An object that is open without a descriptor that would show it: it was closed while its memory is still mapped, it
/// is on its way through a socket (`SCM_RIGHTS`), or only the kernel (KVM) still refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// What is open.
    pub object: Object,
    /// How often the kernel counts it as open.
    pub open_count: u32,
    /// How many of these the descriptors account for.
    pub visible: u32,
}

/// Takes a census. It blocks (some milliseconds for each thousand descriptors of the host), so the reactor has it done on
/// another thread. Clones share what they need; two at a time take turns.
#[derive(Clone)]
pub struct CensusTaker(Way);

#[derive(Clone)]
enum Way {
    /// The thread that has the probe's programs for it.
    Kernel(Sender<Request>),
    Proc(ProcCensus),
}

/// Where the census goes.
type Request = SyncSender<io::Result<Census>>;

impl CensusTaker {
    /// Takes it from `/proc/*/fd` below this root. Other users' processes can be looked at only with CAP_SYS_PTRACE
    /// (and CAP_DAC_READ_SEARCH), and only where `/proc` shows the host's processes (`hostPID`).
    #[must_use]
    pub fn from_proc(root: &HostRoot) -> Self {
        Self(Way::Proc(ProcCensus::new(root)))
    }

    /// Takes it from the kernel's tables. Needs to be in the host's pid namespace to see all processes (kernel:
    /// `kernel/bpf/task_iter.c`, `task_seq_get_next` goes through the namespace of the one who asks).
    pub(super) fn load(
        loader: &mut EbpfLoader<'_>,
        btf: &Btf,
        ring_bytes: u32,
        layout: Arc<ArcSwap<KernelLayout>>,
        grant: Grant,
        shift_ns: i64,
    ) -> Result<Self, ObjectError> {
        let mut kernel = KernelCensus::load(loader, btf, ring_bytes, layout, shift_ns)?;
        let (requests, wanted) = mpsc::channel::<Request>();
        let thread = thread::Builder::new().name("vfiod-census".to_owned()).spawn(move || {
            if let Err(error) = give_up(Some(grant)) {
                warn!("the thread that takes the census keeps capabilities that it does not need: {error}");
            }
            for answer in wanted {
                // Whoever asked may be gone.
                let _ = answer.send(kernel.take().map_err(io::Error::other));
            }
        });
        thread.map(|_| Self(Way::Kernel(requests))).map_err(ObjectError::Thread)
    }

    /// Who has what open now.
    ///
    /// # Errors
    /// When the source cannot be read at all. One process that cannot be looked at is no error: see
    /// [`Census::unreadable`].
    pub fn take(&self) -> io::Result<Census> {
        match &self.0 {
            Way::Kernel(requests) => {
                let (answer, census) = mpsc::sync_channel(1);
                let ended = || io::Error::other("the thread that takes the census has ended");
                requests.send(answer).map_err(|_| ended())?;
                census.recv().map_err(|_| ended())?
            }
            Way::Proc(proc) => proc.take(),
        }
    }
}

impl fmt::Debug for CensusTaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::Kernel(_) => "CensusTaker(kernel)",
            Way::Proc(_) => "CensusTaker(/proc)",
        })
    }
}
