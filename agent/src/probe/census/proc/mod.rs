//! The census from `/proc/*/fd`.
//!
//! A descriptor of a group is a link to `/dev/vfio/N`, one of a device that was opened through its group is a link to
//! `anon_inode:[vfio-device]` (kernel: `drivers/vfio/group.c`, `vfio_device_open_file`; `vfio_main.c` before 6.2), one of
//! a device that was opened by itself is a link to `/dev/vfio/devices/vfioN`.

use super::{Census, Object, Opening, Process, Source};
use crate::{discovery::HostRoot, probe::process::TICK_NS};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use vfiod_core::device::{DeviceId, GroupId, Node};

const DEVICE_LINK: &[u8] = b"anon_inode:[vfio-device]";
const NODES: &[u8] = b"/dev/vfio/";
const CDEVS: &[u8] = b"devices/";

/// Reads `/proc` below a root.
#[derive(Debug, Clone)]
pub(super) struct ProcCensus {
    proc: PathBuf,
    sys: PathBuf,
}

impl ProcCensus {
    pub(super) fn new(root: &HostRoot) -> Self {
        Self { proc: root.proc(), sys: root.sys() }
    }

    pub(super) fn take(&self) -> io::Result<Census> {
        let mut census = Census { source: Source::Proc, openings: Vec::new(), hidden: Vec::new(), unreadable: 0 };
        for entry in fs::read_dir(&self.proc)? {
            let entry = entry?;
            let Some(pid) = number(&entry.file_name()) else { continue };
            match self.of_process(pid, &entry.path(), &mut census.openings) {
                Ok(()) => {}
                // It ended meanwhile (kernel: `fs/proc/fd.c` gives ENOENT, `fs/proc/base.c` ESRCH).
                Err(error) if is_gone(&error) => {}
                Err(_) => census.unreadable += 1,
            }
        }
        Ok(census)
    }

    fn of_process(&self, pid: u32, folder: &Path, openings: &mut Vec<Opening>) -> io::Result<()> {
        let mut found: BTreeMap<Object, u32> = BTreeMap::new();
        let mut unnamed = 0;
        for descriptor in fs::read_dir(folder.join("fd"))? {
            let descriptor = descriptor?;
            let target = match fs::read_link(descriptor.path()) {
                Ok(target) => target,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            let target = target.as_os_str().as_bytes();
            let object = if target == DEVICE_LINK {
                match named_in_fdinfo(&folder.join("fdinfo").join(descriptor.file_name())) {
                    Some(device) => self.device(device),
                    None => {
                        unnamed += 1;
                        continue;
                    }
                }
            } else {
                match self.at_node(target) {
                    Some(object) => object,
                    None => continue,
                }
            };
            *found.entry(object).or_default() += 1;
        }
        if unnamed > 0 {
            // A process with one group can have its devices from that group only.
            let mut groups = found.keys().filter(|object| object.is_group());
            let group = match (groups.next(), groups.next()) {
                (Some(only), None) => only.group,
                _ => None,
            };
            found.insert(Object::of_device(None, group), unnamed);
        }
        if found.is_empty() {
            return Ok(());
        }
        let process = process(pid, folder);
        openings.extend(found.into_iter().map(|(object, fds)| Opening {
            object,
            process: process.clone(),
            fds,
            open_count: None,
        }));
        Ok(())
    }

    /// The object whose node has this path. Names are what counts: a minor is not a group's number.
    fn at_node(&self, target: &[u8]) -> Option<Object> {
        let name = target.strip_prefix(NODES)?;
        // A node may be gone while it is open.
        let name = std::str::from_utf8(name.strip_suffix(b" (deleted)").unwrap_or(name)).ok()?;
        if let Some(cdev) = name.as_bytes().strip_prefix(CDEVS) {
            let link = self.sys.join("class/vfio-dev").join(OsStr::from_bytes(cdev));
            // `…/0000:3b:00.0/vfio-dev/vfio0`
            let target = fs::read_link(link).ok()?;
            let device = target.parent()?.parent()?.file_name()?.to_str()?.parse().ok()?;
            return Some(self.device(device));
        }
        match Node::in_folder(name)? {
            Node::Group(group) | Node::NoIommu(group) => Some(Object::of_group(group)),
            Node::Container | Node::Cdev(_) => None,
        }
    }

    fn device(&self, device: DeviceId) -> Object {
        let bus = if device.is_mdev() { "mdev" } else { "pci" };
        let link = self.sys.join("bus").join(bus).join("devices").join(device.to_string()).join("iommu_group");
        let group = fs::read_link(link).ok();
        let group: Option<GroupId> = group.and_then(|group| number(group.file_name()?));
        Object::of_device(Some(device), group)
    }
}

/// The device that `fdinfo` names, where the kernel does that
/// (kernel: `drivers/vfio/vfio_main.c`, `vfio_device_show_fdinfo`).
fn named_in_fdinfo(path: &Path) -> Option<DeviceId> {
    let text = fs::read_to_string(path).ok()?;
    let folder = text.lines().find_map(|line| line.strip_prefix("vfio-device-syspath:"))?;
    Path::new(folder.trim()).file_name()?.to_str()?.parse().ok()
}

fn process(pid: u32, folder: &Path) -> Process {
    let stat = fs::read(folder.join("stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // The command stands in brackets and may itself hold brackets and blanks (kernel: `fs/proc/array.c`, `do_task_stat`).
    let (head, rest) = stat.rsplit_once(')').unwrap_or_default();
    let command = head.split_once('(').map(|(_, command)| command).unwrap_or_default();
    // Field 22 of the line; what follows the command begins with field 3.
    let ticks = rest.split_whitespace().nth(22 - 3).and_then(|field| field.parse::<u64>().ok());
    Process {
        pid,
        start_ns: ticks.and_then(|ticks| ticks.checked_mul(TICK_NS)),
        command: command.to_owned(),
        cgroup_id: 0,
    }
}

fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

#[cfg(test)]
mod tests;
