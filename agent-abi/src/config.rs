//! What the probe must know about the running kernel.

use crate::Plain;

/// The offset of a member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! config {
    ($($(#[$doc:meta])+ $field:ident),+ $(,)?) => {
        /// Offsets of members in bytes, read from the kernel's BTF when the probe is loaded and again when VFIO's
        /// modules arrive; and a few numbers beside them. [`ABSENT`] where this kernel has no such member.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(C)]
        pub struct Config {
            $($(#[$doc])+ pub $field: u32,)+
        }

        impl Config {
            /// Nothing is known.
            pub const UNKNOWN: Self = Self { $($field: ABSENT,)+ };

            /// Every value with its name, for the log.
            pub fn each(&self, mut each: impl FnMut(&'static str, u32)) {
                $(each(stringify!($field), self.$field);)+
            }
        }

        const FIELDS: usize = [$(stringify!($field)),+].len();
    };
}

config! {
    /// `file.f_inode`
    file_inode,
    /// `file.f_path.dentry`
    file_dentry,
    /// `file.private_data`
    file_private,
    /// `inode.i_rdev`
    inode_rdev,
    /// `inode.i_sb`
    inode_sb,
    /// `super_block.s_magic`
    sb_magic,
    /// `dentry.d_name.name`
    dentry_name,
    /// `task_struct.group_leader`
    task_leader,
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.start_boottime`
    task_start,
    /// `task_struct.cgroups`
    task_cgroups,
    /// `task_struct.files`
    task_files,
    /// `files_struct.fdt`
    files_table,
    /// `fdtable.fd`
    table_files,
    /// `css_set.dfl_cgrp`
    css_cgroup,
    /// `cgroup.kn`
    cgroup_node,
    /// `kernfs_node.id`
    node_id,
    /// `device.kobj`
    device_object,
    /// `device.kobj.name`
    device_name,
    /// `pci_dev.dev`
    pci_device,
    /// `module.name`
    module_name,
    /// `vfio_group.dev`
    group_device,
    /// `vfio_group.opened_file`
    group_opened,
    /// `vfio_group.device_list`
    group_devices,
    /// `vfio_device.dev`
    vfio_dev,
    /// `vfio_device.group`
    vfio_group,
    /// `vfio_device.open_count`
    vfio_count,
    /// `vfio_device.group_next`
    vfio_next,
    /// `vfio_device_file.device`; absent where `private_data` of a device's file is the `vfio_device` itself (6.1).
    vfio_file_device,
    /// `vfio_device.device`, the one in the class `vfio-dev`.
    vfio_class_device,
    /// The major number of `/dev/vfio/N`.
    group_major,
    /// The major number of `/dev/vfio/devices/vfioN`.
    device_major,
    /// The thread that looks for devices through their files in sysfs; 0 while none does.
    looking,
}

const _: () = assert!(size_of::<Config>() == 4 * FIELDS && FIELDS == 34);

// SAFETY: u32 alone, in C's layout.
unsafe impl Plain for Config {}
