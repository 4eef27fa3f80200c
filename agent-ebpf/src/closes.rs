//! The end of the last reference to a group's or a device's file, whatever process had it.
//!
//! When a release begins, its object still has its name and the count is not lowered. When it ends, the count is true and
//! the object may be gone. The event of the begin is kept for the end. The kernel follows a limited number of returns at
//! once and leaves out the others, but never a begin; so both are told, and the daemon asks for the count itself where
//! an end does not come.

use crate::{
    emit::{count, emit, event_of},
    identity::{Object, device_of_file},
    memory::{config, pointer, value},
};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns},
    macros::{kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{ProbeContext, RetProbeContext},
};
use vfiod_abi::{Event, Kind, UNKNOWN};

#[map]
static CLOSING: LruHashMap<u64, Event> = LruHashMap::with_max_entries(1024, 0);

/// `int vfio_group_fops_release(struct inode *, struct file *)`
#[kprobe]
pub fn group_release(ctx: ProbeContext) -> u32 {
    if let Some(file) = ctx.arg::<u64>(1)
        && let Some(config) = config()
        && let Some(group) = pointer(file, config.file_private)
    {
        begins(&event_of(Kind::GroupClosing, &Object::group(config, group)));
    }
    0
}

/// Its return.
#[kretprobe]
pub fn group_release_end(_: RetProbeContext) -> u32 {
    if let Some(mut event) = ended(Kind::GroupClosing)
        && let Some(config) = config()
    {
        event.kind = Kind::GroupClosed as u32;
        event.count = value::<u64>(event.object, config.group_opened).map_or(UNKNOWN, |file| u32::from(file != 0));
        emit(&event);
    }
    0
}

/// `int vfio_device_fops_release(struct inode *, struct file *)`
#[kprobe]
pub fn device_release(ctx: ProbeContext) -> u32 {
    if let Some(file) = ctx.arg::<u64>(1)
        && let Some(config) = config()
        && let Some(device) = device_of_file(config, file)
    {
        begins(&event_of(Kind::DeviceClosing, &Object::device(config, device)));
    }
    0
}

/// Its return.
#[kretprobe]
pub fn device_release_end(_: RetProbeContext) -> u32 {
    if let Some(mut event) = ended(Kind::DeviceClosing)
        && let Some(config) = config()
    {
        event.kind = Kind::DeviceClosed as u32;
        event.count = value(event.object, config.vfio_count).unwrap_or(UNKNOWN);
        emit(&event);
    }
    0
}

#[inline(always)]
fn begins(event: &Event) {
    let _ = CLOSING.insert(bpf_get_current_pid_tgid(), event, 0);
    count(|counters| counters.releases_begun += 1);
    emit(event);
}

/// The event of the release that this thread ends, at the time of now.
#[inline(always)]
fn ended(kind: Kind) -> Option<Event> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread has this key.
    let Some(mut event) = unsafe { CLOSING.get(thread) }.copied().filter(|event| event.kind == kind as u32) else {
        count(|counters| counters.begins_forgotten += 1);
        return None;
    };
    let _ = CLOSING.remove(thread);
    count(|counters| counters.releases_done += 1);
    // SAFETY: the helper takes nothing.
    event.at_boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    Some(event)
}
