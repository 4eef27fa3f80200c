//! The capabilities that the probe needs, why, and giving up those that it no longer needs.

use caps::{CapSet, Capability, CapsHashSet};
use std::fmt;

/// The capabilities that open the kernel to the probe; no other part of vfiod needs them.
const PROBE: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN];

/// Which capabilities load and attach the probe (kernel: `kernel/bpf/syscall.c`, `bpf_prog_load`;
/// `include/linux/perf_event.h`, `perfmon_capable`, and Debian's patch that adds level 3 to
/// `kernel.perf_event_paranoid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// CAP_BPF loads programs, CAP_PERFMON lets them read the kernel's memory and attaches them.
    BpfAndPerfmon,
    /// CAP_SYS_ADMIN does both: where CAP_BPF or CAP_PERFMON is lacking, or `perf_event_paranoid` above 2 does not
    /// let CAP_PERFMON attach.
    SysAdmin,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BpfAndPerfmon => "CAP_BPF (loads the probe) and CAP_PERFMON (lets it read and attaches it)",
            Self::SysAdmin => "CAP_SYS_ADMIN (loads and attaches the probe)",
        })
    }
}

/// The least that suffices of what a thread has; `None` when nothing does. `paranoid` is `kernel.perf_event_paranoid`.
pub(super) fn least(effective: &CapsHashSet, paranoid: i32) -> Option<Grant> {
    let has = |capability: Capability| effective.contains(&capability);
    if paranoid <= 2 && has(Capability::CAP_BPF) && has(Capability::CAP_PERFMON) {
        return Some(Grant::BpfAndPerfmon);
    }
    has(Capability::CAP_SYS_ADMIN).then_some(Grant::SysAdmin)
}

/// The capabilities of this thread that count now.
pub(super) fn effective() -> CapsHashSet {
    caps::read(None, CapSet::Effective).unwrap_or_default()
}

/// Gives up, in this thread and those that it starts, what the probe does not need to attach once more when VFIO's modules
/// come back: of the three capabilities of the probe only the one that attaches stays. Without a probe none stays.
/// Names those that were given up.
///
/// Capabilities belong to threads, so each thread of the daemon calls this for itself.
///
/// # Errors
/// When the kernel refuses, which it never does to a thread that gives something up.
pub fn give_up(grant: Option<Grant>) -> Result<Vec<String>, caps::errors::CapsError> {
    let keep = match grant {
        Some(Grant::BpfAndPerfmon) => Some(Capability::CAP_PERFMON),
        Some(Grant::SysAdmin) => Some(Capability::CAP_SYS_ADMIN),
        None => None,
    };
    let mut given_up = Vec::new();
    for capability in PROBE.into_iter().filter(|capability| Some(*capability) != keep) {
        if !caps::has_cap(None, CapSet::Permitted, capability)? {
            continue;
        }
        // An ambient capability must be permitted and inheritable, so it goes first.
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            caps::drop(None, set, capability)?;
        }
        given_up.push(capability.to_string());
    }
    Ok(given_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(capabilities: &[Capability]) -> CapsHashSet {
        capabilities.iter().copied().collect()
    }

    #[test]
    fn the_least_is_taken_where_it_suffices() {
        let all = set(&PROBE);
        let least_two = set(&[Capability::CAP_BPF, Capability::CAP_PERFMON]);
        assert_eq!(least(&all, 2), Some(Grant::BpfAndPerfmon));
        assert_eq!(least(&all, 3), Some(Grant::SysAdmin));
        assert_eq!(least(&least_two, 2), Some(Grant::BpfAndPerfmon));
        assert_eq!(least(&least_two, 3), None);
        assert_eq!(least(&set(&[Capability::CAP_BPF, Capability::CAP_SYS_ADMIN]), 1), Some(Grant::SysAdmin));
        assert_eq!(least(&set(&[]), -1), None);
    }

    #[test]
    fn what_is_given_up_is_gone_from_this_thread_and_others_keep_theirs() {
        let before = effective();
        let after = std::thread::spawn(|| {
            give_up(Some(Grant::BpfAndPerfmon)).unwrap();
            effective()
        })
        .join()
        .unwrap();
        assert!(!after.contains(&Capability::CAP_SYS_ADMIN) && !after.contains(&Capability::CAP_BPF));
        assert_eq!(after.contains(&Capability::CAP_PERFMON), before.contains(&Capability::CAP_PERFMON));
        assert_eq!(effective(), before);
    }
}
