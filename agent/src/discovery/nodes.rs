//! Which device nodes exist: `/dev/vfio` and `/dev/vfio/devices`.

use super::{
    entry::number,
    fault::{Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
};
use rustix::io::Errno;
use vfiod_core::device::{CdevName, DevNodes, GroupId};

const GROUPS: &str = "/dev/vfio";
const CDEVS: &str = "/dev/vfio/devices";

/// Reads the names of all VFIO nodes. A node is found by its name only: its minor number is not its group's number
/// (kernel: `drivers/vfio/group.c`, `vfio_group_alloc` takes the next free minor).
///
/// A missing folder is a host on which VFIO has nothing to offer.
///
/// # Errors
/// A folder exists and cannot be read.
pub fn read_nodes(root: &HostRoot) -> Result<DevNodes, Fault> {
    let mut nodes = DevNodes::default();
    each_name(root, GROUPS, |name| match name {
        b"vfio" => nodes.container = true,
        _ => match name.strip_prefix(b"noiommu-") {
            Some(group) => nodes.noiommu.extend(number::<GroupId>(group)),
            None => nodes.groups.extend(number::<GroupId>(name)),
        },
    })?;
    each_name(root, CDEVS, |name| {
        nodes.cdevs.insert(CdevName::from(&*String::from_utf8_lossy(name)));
    })?;
    Ok(nodes)
}

fn each_name(root: &HostRoot, path: &str, each: impl FnMut(&[u8])) -> Result<(), Fault> {
    match Folder::open(root.at(path)).and_then(|folder| folder.names(".", each)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Fault::new(path, errno, Consequence::NodesUnknown)),
    }
}
