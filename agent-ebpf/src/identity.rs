//! Which device, which group, which process.

use crate::memory::{pointer, text, value};
use vfiod_abi::{ABSENT, COMMAND, Config, GROUP, NAME, UNKNOWN};

/// A device or a group, with its names and its count at the moment of reading.
pub struct Object {
    pub address: u64,
    pub group_address: u64,
    pub device: bool,
    pub count: u32,
    pub name: [u8; NAME],
    pub group: [u8; GROUP],
}

impl Object {
    /// The group at this address. Its count is 1 while its node is open, else 0: it is opened by one file at a time
    /// (kernel: `drivers/vfio/group.c`, `vfio_group_fops_open`; `vfio_main.c` before 6.2).
    #[inline(always)]
    pub fn group(config: &Config, address: u64) -> Self {
        let mut object = Self::empty(address, false);
        object.group_address = address;
        object.name_group(config);
        if let Some(opened) = value::<u64>(address, config.group_opened) {
            object.count = u32::from(opened != 0);
        }
        object
    }

    /// The device at this address.
    #[inline(always)]
    pub fn device(config: &Config, address: u64) -> Self {
        let mut object = Self::empty(address, true);
        if let Some(device) = pointer(address, config.vfio_dev)
            && let Some(name) = pointer(device, config.device_name)
        {
            text(name, &mut object.name);
        }
        if let Some(group) = pointer(address, config.vfio_group) {
            object.group_address = group;
            object.name_group(config);
        }
        object.count = value(address, config.vfio_count).unwrap_or(UNKNOWN);
        object
    }

    #[inline(always)]
    fn empty(address: u64, device: bool) -> Self {
        Self { address, group_address: 0, device, count: UNKNOWN, name: [0; NAME], group: [0; GROUP] }
    }

    #[inline(always)]
    fn name_group(&mut self, config: &Config) {
        if config.group_device != ABSENT
            && let Some(name) = pointer(self.group_address + u64::from(config.group_device), config.device_name)
        {
            text(name, &mut self.group);
        }
    }
}

/// The device behind a device's file: since 6.4 there is a structure between the two
/// (kernel: `drivers/vfio/vfio.h`, `struct vfio_device_file`).
#[inline(always)]
pub fn device_of_file(config: &Config, file: u64) -> Option<u64> {
    let private = pointer(file, config.file_private)?;
    if config.vfio_file_device == ABSENT {
        return Some(private);
    }
    pointer(private, config.vfio_file_device)
}

/// The facts about a process that are read from its first thread.
pub struct Leader {
    pub command: [u8; COMMAND],
    pub start_ns: u64,
}

impl Leader {
    /// Of the process that `task` belongs to.
    #[inline(always)]
    pub fn of(config: &Config, task: u64) -> Self {
        let leader = pointer(task, config.task_leader).unwrap_or(task);
        Self {
            command: value(leader, config.task_comm).unwrap_or([0; COMMAND]),
            start_ns: value(leader, config.task_start).unwrap_or(0),
        }
    }
}
