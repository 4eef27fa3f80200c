//! Which device nodes exist: `/dev/vfio` and `/dev/vfio/devices`.

use super::{
    entry::number,
    fault::{Consequence, Fault},
    folder::Folder,
    host_root::HostRoot,
};
use rustix::io::Errno;
use vfiod_core::device::GroupId;

const GROUPS: &str = "/dev/vfio";
const CDEVS: &str = "/dev/vfio/devices";

/// The nodes that VFIO offers, by name. A node is found by its name only: its minor number is not its group's number
/// (kernel: `drivers/vfio/group.c`, `vfio_group_alloc` takes the next free minor).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevNodes {
    /// Whether `/dev/vfio/vfio` exists.
    pub container: bool,
    /// The groups with a node `/dev/vfio/N`, ascending.
    pub groups: Vec<GroupId>,
    /// The groups with a node `/dev/vfio/noiommu-N`, ascending.
    pub noiommu: Vec<GroupId>,
    /// The names below `/dev/vfio/devices`, sorted.
    pub cdevs: Vec<String>,
}

impl DevNodes {
    /// Whether `/dev/vfio/N` exists.
    #[must_use]
    pub fn has_group(&self, group: GroupId) -> bool {
        self.groups.binary_search(&group).is_ok()
    }

    /// Whether `/dev/vfio/noiommu-N` exists.
    #[must_use]
    pub fn has_noiommu(&self, group: GroupId) -> bool {
        self.noiommu.binary_search(&group).is_ok()
    }

    /// Whether `/dev/vfio/devices/<name>` exists.
    #[must_use]
    pub fn has_cdev(&self, name: &str) -> bool {
        self.cdevs.binary_search_by(|cdev| cdev.as_str().cmp(name)).is_ok()
    }
}

/// Reads the names of all VFIO nodes. A missing folder is a host on which VFIO has nothing to offer.
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
    each_name(root, CDEVS, |name| nodes.cdevs.push(String::from_utf8_lossy(name).into_owned()))?;
    nodes.groups.sort_unstable();
    nodes.noiommu.sort_unstable();
    nodes.cdevs.sort_unstable();
    Ok(nodes)
}

fn each_name(root: &HostRoot, path: &str, each: impl FnMut(&[u8])) -> Result<(), Fault> {
    match Folder::open(root.at(path)).and_then(|folder| folder.names(".", each)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Fault::new(path, errno, Consequence::NodesUnknown)),
    }
}
