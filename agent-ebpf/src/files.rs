//! The iterator over every file of every task (kernel: `kernel/bpf/task_iter.c`, target `task_file`; since 5.8).

use crate::{
    identity::{Leader, Object, device_of_file},
    memory::{config, pointer, text, value},
};
use aya_ebpf::helpers::generated::bpf_seq_write;
use core::ffi::c_void;
use vfiod_abi::{Config, OpenFile};

/// `struct bpf_iter__task_file` (kernel: `kernel/bpf/task_iter.c`); its layout is part of the interface.
#[repr(C)]
struct Context {
    meta: *const Meta,
    task: *const c_void,
    fd: u32,
    file: *const c_void,
}

/// `struct bpf_iter_meta` (kernel: `include/linux/bpf.h`), likewise.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// `ANON_INODE_FS_MAGIC` (kernel: `include/uapi/linux/magic.h`).
const ANONYMOUS: u64 = 0x0904_1934;
/// The name under which VFIO makes a device's file (kernel: `drivers/vfio/group.c`, `vfio_device_open_file`; `vfio_main.c`
/// before 6.2).
const DEVICE_FILE: [u8; 14] = *b"[vfio-device]\0";
/// Bits of the minor in `dev_t` (kernel: `include/linux/kdev_t.h`, `MINORBITS`).
const MINOR_BITS: u32 = 20;

/// Writes an [`OpenFile`] for each descriptor of a VFIO group or device.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn files(context: *mut c_void) -> i32 {
    let context = context.cast::<Context>().cast_const();
    // SAFETY: the kernel calls this with such a context; the verifier checks each access to it.
    let (task, fd, file) = unsafe { ((*context).task, (*context).fd, (*context).file) };
    // The last call has neither.
    if task.is_null() || file.is_null() {
        return 0;
    }
    let (task, file) = (task as u64, file as u64);
    let Some(config) = config() else { return 0 };
    let Some(object) = vfio_object(config, file) else { return 0 };
    let leader = Leader::of(config, task);
    let record = OpenFile {
        object: object.address,
        file,
        group_object: object.group_address,
        cgroup_id: cgroup(config, task).unwrap_or(0),
        start_ns: leader.start_ns,
        device: u32::from(object.device),
        tgid: value(task, config.task_tgid).unwrap_or(0),
        fd,
        count: object.count,
        command: leader.command,
        name: object.name,
        group: object.group,
    };
    // SAFETY: the kernel's own seq_file, and a structure of this size. Where there is no room the kernel calls again.
    unsafe {
        let seq = (*(*context).meta).seq;
        bpf_seq_write(seq.cast(), (&raw const record).cast_mut().cast(), size_of::<OpenFile>() as u32);
    }
    0
}

/// The group or device that `file` is of.
#[inline(always)]
fn vfio_object(config: &Config, file: u64) -> Option<Object> {
    let inode = pointer(file, config.file_inode)?;
    let superblock = pointer(inode, config.inode_sb)?;
    if value::<u64>(superblock, config.sb_magic)? == ANONYMOUS {
        let mut name = [0; 16];
        text(pointer(pointer(file, config.file_dentry)?, config.dentry_name)?, &mut name);
        if name[..14] != DEVICE_FILE {
            return None;
        }
        return device_of_file(config, file).map(|device| Object::device(config, device));
    }
    let major = value::<u32>(inode, config.inode_rdev)? >> MINOR_BITS;
    if major == 0 {
        return None;
    }
    // A file that was opened with O_PATH has no private data: it holds nothing.
    if major == config.group_major {
        return pointer(file, config.file_private).map(|group| Object::group(config, group));
    }
    if major == config.device_major {
        return device_of_file(config, file).map(|device| Object::device(config, device));
    }
    None
}

/// The id of the task's cgroup in the unified hierarchy, as `bpf_get_current_cgroup_id` gives it.
#[inline(always)]
fn cgroup(config: &Config, task: u64) -> Option<u64> {
    let set = pointer(task, config.task_cgroups)?;
    let cgroup = pointer(set, config.css_cgroup)?;
    let node = pointer(cgroup, config.cgroup_node)?;
    value(node, config.node_id)
}
