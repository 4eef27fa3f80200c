//! A process, as the kernel knows it at the time of an event or a census.

/// A process (thread group). Its command is that of its first thread, so QEMU's threads are all `qemu-system-x86`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id in the host's pid namespace (`tgid`).
    pub pid: u32,
    /// When it began, in nanoseconds of this process' `CLOCK_BOOTTIME`; pid and start together name one process for
    /// ever. `/proc` knows whole clock ticks only (10 ms), so compare with [`Self::is_same`]. `None` when unknown.
    pub start_ns: Option<u64>,
    /// Its command (`comm`, at most 15 bytes), with anything that is not text replaced.
    pub command: String,
    /// The id of its cgroup in the unified hierarchy (the inode number below the cgroup2 mount); 0 when unknown. On a
    /// host with cgroup v1 only it is the root's: `/proc/<pid>/cgroup` tells more as long as the process lives.
    pub cgroup_id: u64,
}

/// The clock tick of `/proc/<pid>/stat` on every Linux platform (kernel: `USER_HZ` in `include/asm-generic/param.h`).
pub(super) const TICK_NS: u64 = 10_000_000;

impl Process {
    /// Whether both mean one process: the pid is the same and so is the start, to the clock tick. A start that one of
    /// them does not know is not compared.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let starts = self.start_ns.zip(other.start_ns);
        self.pid == other.pid && starts.is_none_or(|(a, b)| a / TICK_NS == b / TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, start_ns: Option<u64>) -> Process {
        Process { pid, start_ns, command: "qemu-system-x86".into(), cgroup_id: 0 }
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let exact = process(7, Some(123_456_789_012));
        assert!(exact.is_same(&process(7, Some(123_450_000_000))), "the same, as /proc rounds it");
        assert!(exact.is_same(&process(7, None)));
        assert!(!exact.is_same(&process(7, Some(133_450_000_000))));
        assert!(!exact.is_same(&process(8, Some(123_456_789_012))));
    }
}
