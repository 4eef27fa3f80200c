//! The census: every open VFIO file and who has it, as of one moment.

mod proc;

use super::{Object, Process};
use crate::discovery::HostRoot;
use proc::ProcCensus;
use std::io;

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

/// Takes a census. It blocks (`/proc` takes some milliseconds for each thousand descriptors), so the reactor has it done
/// on another thread.
#[derive(Debug, Clone)]
pub struct CensusTaker(Way);

#[derive(Debug, Clone)]
enum Way {
    Proc(ProcCensus),
}

impl CensusTaker {
    /// Takes it from `/proc/*/fd` below this root. Other users' processes can be looked at only with CAP_SYS_PTRACE
    /// (and CAP_DAC_READ_SEARCH), and only where `/proc` shows the host's processes (`hostPID`).
    #[must_use]
    pub fn from_proc(root: &HostRoot) -> Self {
        Self(Way::Proc(ProcCensus::new(root)))
    }

    /// Who has what open now.
    ///
    /// # Errors
    /// When the source cannot be read at all. One process that cannot be looked at is no error: see
    /// [`Census::unreadable`].
    pub fn take(&self) -> io::Result<Census> {
        match &self.0 {
            Way::Proc(proc) => proc.take(),
        }
    }
}
