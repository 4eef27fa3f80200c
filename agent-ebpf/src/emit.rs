//! Handing events to the daemon, and counting.

use crate::{
    identity::{Leader, Object},
    memory::config,
};
use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_ktime_get_boot_ns},
    },
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use vfiod_abi::{Counters, Event, Kind};

/// The daemon may load the object with a ring of another size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Changes this CPU's counters.
#[inline(always)]
pub fn count(change: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the map holds one structure for each CPU, and a program is not moved to another CPU while it runs.
        change(unsafe { &mut *counters });
    }
}

/// An event of now and of the process that is running.
#[inline(always)]
pub fn event(kind: Kind) -> Event {
    let identity = bpf_get_current_pid_tgid();
    // SAFETY: these helpers take nothing and read the running task.
    let (at_boot_ns, cgroup_id, task) =
        unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id(), bpf_get_current_task()) };
    let mut event = Event {
        at_boot_ns,
        cgroup_id,
        kind: kind as u32,
        tgid: (identity >> 32) as u32,
        detail: identity as u32,
        ..Event::EMPTY
    };
    if let Some(config) = config() {
        let leader = Leader::of(config, task);
        event.command = leader.command;
        event.start_ns = leader.start_ns;
    }
    event
}

/// The same, about an object.
#[inline(always)]
pub fn event_of(kind: Kind, object: &Object) -> Event {
    Event { object: object.address, count: object.count, name: object.name, group: object.group, ..event(kind) }
}

/// Hands the event over, or counts that there was no room.
#[inline(always)]
pub fn emit(event: &Event) {
    let handed_over = EVENTS.output::<Event>(event, 0).is_ok();
    count(|counters| match handed_over {
        true => counters.events += 1,
        false => counters.ring_full += 1,
    });
}
