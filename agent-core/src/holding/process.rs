//! A process that has a device open.

use super::Place;
use std::{fmt, sync::Arc, time::Duration};

/// A process, as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its process id in the host's pid namespace.
    pub pid: u32,
    /// When it started, since boot; with the pid it names a process for ever. `None` where nobody could tell.
    pub started: Option<Duration>,
    /// Its command name (`/proc/PID/comm`, at most 15 bytes).
    pub command: Arc<str>,
    /// Its pod and container; `None` where its cgroup could not be read.
    pub place: Option<Place>,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)?;
        match &self.place {
            Some(place) if place.pod.is_some() => write!(f, " of {place}"),
            _ => Ok(()),
        }
    }
}
