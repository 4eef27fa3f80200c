//! Opens of groups and devices.
//!
//! What an open gives is known when it returns, and what it was asked for when it begins, so each is seen twice. An open
//! that fails makes no event: a program that tries again and again would flood the daemon.

use crate::{
    emit::{count, emit, event_of},
    identity::{Object, device_of_file},
    memory::{config, pointer},
};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task},
    macros::{kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{ProbeContext, RetProbeContext},
};
use vfiod_abi::Kind;

/// `VFIO_GROUP_GET_DEVICE_FD` (kernel: `include/uapi/linux/vfio.h`, `_IO(';', 100 + 6)`).
const GET_DEVICE: u32 = 0x3b6a;

/// A call that has begun. A thread makes one at a time.
#[derive(Clone, Copy)]
#[repr(C)]
struct Call {
    which: u64,
    /// The file that is being opened, or the `vfio_device_file` that is being bound.
    subject: u64,
}

const GROUP: u64 = 1;
const DEVICE: u64 = 2;
const NODE: u64 = 3;
const BIND: u64 = 4;

#[map]
static OPENING: LruHashMap<u64, Call> = LruHashMap::with_max_entries(1024, 0);

/// `int vfio_group_fops_open(struct inode *, struct file *)`
#[kprobe]
pub fn group_open(ctx: ProbeContext) -> u32 {
    begins(GROUP, ctx.arg(1))
}

/// Its return.
#[kretprobe]
pub fn group_open_end(ctx: RetProbeContext) -> u32 {
    if let Some(file) = ended_well(GROUP, ctx.ret::<i32>())
        && let Some(config) = config()
        && let Some(group) = pointer(file, config.file_private)
    {
        emit(&event_of(Kind::GroupOpened, &Object::group(config, group)));
    }
    0
}

/// `long vfio_group_fops_unl_ioctl(struct file *, unsigned int, unsigned long)`
#[kprobe]
pub fn group_ioctl(ctx: ProbeContext) -> u32 {
    if ctx.arg(1) == Some(GET_DEVICE) { begins(DEVICE, ctx.arg(0)) } else { 0 }
}

/// Its return: the descriptor of a device.
#[kretprobe]
pub fn group_ioctl_end(ctx: RetProbeContext) -> u32 {
    let descriptor = ctx.ret::<i32>();
    if ended_well(DEVICE, descriptor).is_some()
        && let Some(config) = config()
        && let Some(device) = device_at(descriptor)
    {
        emit(&event_of(Kind::DeviceOpened, &Object::device(config, device)));
    }
    0
}

/// `int vfio_device_fops_cdev_open(struct inode *, struct file *)`
#[kprobe]
pub fn node_open(ctx: ProbeContext) -> u32 {
    begins(NODE, ctx.arg(1))
}

/// Its return.
#[kretprobe]
pub fn node_open_end(ctx: RetProbeContext) -> u32 {
    if let Some(file) = ended_well(NODE, ctx.ret::<i32>())
        && let Some(config) = config()
        && let Some(device) = device_of_file(config, file)
    {
        emit(&event_of(Kind::DeviceOpened, &Object::device(config, device)));
    }
    0
}

/// `long vfio_df_ioctl_bind_iommufd(struct vfio_device_file *, struct vfio_device_bind_iommufd __user *)`: a device that
/// was opened through its own node counts as open from here on.
#[kprobe]
pub fn node_bind(ctx: ProbeContext) -> u32 {
    begins(BIND, ctx.arg(0))
}

/// Its return.
#[kretprobe]
pub fn node_bind_end(ctx: RetProbeContext) -> u32 {
    if let Some(bound) = ended_well(BIND, ctx.ret::<i32>())
        && let Some(config) = config()
        && let Some(device) = pointer(bound, config.vfio_file_device)
    {
        emit(&event_of(Kind::DeviceOpened, &Object::device(config, device)));
    }
    0
}

#[inline(always)]
fn begins(which: u64, subject: Option<u64>) -> u32 {
    let Some(subject) = subject else { return 0 };
    // An entry that cannot be kept shows as a begin without an end, so the daemon looks by itself.
    let _ = OPENING.insert(bpf_get_current_pid_tgid(), Call { which, subject }, 0);
    count(|counters| counters.opens_begun += 1);
    0
}

/// The subject of the call that this thread ends, if the call succeeded.
#[inline(always)]
fn ended_well(which: u64, result: i32) -> Option<u64> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread has this key.
    let call = unsafe { OPENING.get(thread) }.copied();
    let call = match call {
        Some(call) if call.which == which => call,
        _ if which == DEVICE => return None, // other ioctls of the group end here, too
        _ => {
            count(|counters| counters.begins_forgotten += 1);
            return None;
        }
    };
    let _ = OPENING.remove(thread);
    if result < 0 {
        count(|counters| counters.opens_failed += 1);
        return None;
    }
    count(|counters| counters.opens_done += 1);
    Some(call.subject)
}

/// The device whose file has this descriptor in the running process.
#[inline(always)]
fn device_at(descriptor: i32) -> Option<u64> {
    let config = config()?;
    // SAFETY: the helper takes nothing and gives the running task.
    let task = unsafe { bpf_get_current_task() };
    let files = pointer(task, config.task_files)?;
    let table = pointer(files, config.files_table)?;
    let array = pointer(table, config.table_files)?;
    let file = pointer(array + 8 * u64::from(descriptor as u32), 0)?;
    device_of_file(config, file)
}
