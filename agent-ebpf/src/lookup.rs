//! What the daemon asks for.

use crate::{
    emit::{emit, event_of},
    identity::Object,
    memory::{config, pointer, value},
};
use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, map},
    maps::Array,
    programs::{ProbeContext, RawTracePointContext},
};
use core::ffi::c_void;
use vfiod_abi::{ABSENT, Config, Kind, Lookup, Snapshot};

#[map]
static ANSWER: Array<Snapshot> = Array::with_max_entries(1, 0);

/// Run through `BPF_PROG_TEST_RUN` with an address and a [`Lookup`]; never attached. Gives the number of answers.
///
/// An address that no longer is what it was is read all the same; the daemon compares the names. No lock is held while a
/// list is followed: a device that comes or goes meanwhile may be missed.
// Written out because the macro for raw tracepoints always gives 0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
pub fn lookup(context: *mut c_void) -> i32 {
    let ctx = RawTracePointContext::new(context);
    let (address, what) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    let Some(config) = config() else { return 0 };
    let object = if what == Lookup::Group as u64 {
        Some(Object::group(config, address))
    } else if what == Lookup::Device as u64 {
        Some(Object::device(config, address))
    } else {
        device_of_group(config, address, what, ctx.arg(2)).map(|device| Object::device(config, device))
    };
    let (Some(object), Some(place)) = (object, ANSWER.get_ptr_mut(0)) else { return 0 };
    let snapshot = Snapshot {
        object: object.address,
        group_object: object.group_address,
        count: object.count,
        device: u32::from(object.device),
        name: object.name,
        group: object.group,
    };
    // SAFETY: the place is the map's own; the daemon reads it when the program has ended.
    unsafe { *place = snapshot };
    1
}

/// The first device of a group, or the one after another (kernel: `include/linux/list.h`).
#[inline(always)]
fn device_of_group(config: &Config, address: u64, what: u64, group: u64) -> Option<u64> {
    if config.group_devices == ABSENT || config.vfio_next == ABSENT {
        return None;
    }
    let (entry, head) = if what == Lookup::FirstDevice as u64 {
        let head = address + u64::from(config.group_devices);
        (head, head)
    } else {
        (address + u64::from(config.vfio_next), group + u64::from(config.group_devices))
    };
    let next = pointer(entry, 0)?;
    (next != head).then(|| next - u64::from(config.vfio_next))
}

/// `ssize_t dev_attr_show(struct kobject *, struct attribute *, char *)`, attached only while the daemon reads the file
/// `uevent` of each `/sys/class/vfio-dev/vfioN`: the one way to the address of a device that no descriptor shows.
#[kprobe]
pub fn device_seen(ctx: ProbeContext) -> u32 {
    let Some(config) = config() else { return 0 };
    if bpf_get_current_pid_tgid() as u32 != config.looking {
        return 0;
    }
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    if config.device_object == ABSENT || config.vfio_class_device == ABSENT {
        return 0;
    }
    let device = object - u64::from(config.device_object) - u64::from(config.vfio_class_device);
    // The daemon compares the name with the one that sysfs gives.
    if value::<u32>(device, config.vfio_count).is_some() {
        emit(&event_of(Kind::DeviceSeen, &Object::device(config, device)));
    }
    0
}
