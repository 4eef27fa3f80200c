//! The device nodes that the kernel offers below `/dev/vfio`.

use super::{CdevName, Device, Group, GroupId};
use std::collections::BTreeSet;

/// What exists below `/dev/vfio`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevNodes {
    /// Whether `/dev/vfio/vfio`, the container node, exists.
    pub container: bool,
    /// The groups with a node `/dev/vfio/N`.
    pub groups: BTreeSet<GroupId>,
    /// The groups with a node `/dev/vfio/noiommu-N`.
    pub noiommu: BTreeSet<GroupId>,
    /// The names below `/dev/vfio/devices`.
    pub cdevs: BTreeSet<CdevName>,
}

/// One node below `/dev/vfio`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `vfio`.
    Container,
    /// `N`.
    Group(GroupId),
    /// `noiommu-N`.
    NoIommu(GroupId),
    /// `devices/<name>`.
    Cdev(CdevName),
}

impl Node {
    /// The node of this name in `/dev/vfio` itself; `None` for other names.
    #[must_use]
    pub fn in_folder(name: &str) -> Option<Self> {
        if name == "vfio" {
            return Some(Self::Container);
        }
        match name.strip_prefix("noiommu-") {
            Some(group) => group.parse().ok().map(Self::NoIommu),
            None => name.parse().ok().map(Self::Group),
        }
    }
}

impl DevNodes {
    /// The folder of the nodes, as a container sees it.
    pub const FOLDER: &str = "/dev/vfio";

    /// The container node, through which every group is used: a container without it cannot open a device.
    pub const CONTAINER: &str = "/dev/vfio/vfio";

    /// The path of the node through which `device` of `group` is opened. A PCI device without an IOMMU has another
    /// node name (kernel: `drivers/vfio/group.c`, `vfio_group_alloc`); an mdev never has.
    #[must_use]
    pub fn group_path(device: &Device, group: &Group) -> String {
        Self::path_of_group(device, group.id, group.noiommu)
    }

    /// Whether the node at [`Self::group_path`] exists.
    #[must_use]
    pub fn has_group(&self, device: &Device, group: &Group) -> bool {
        self.has_node(device, group.id, group.noiommu)
    }

    /// The first node that `device` of `group` needs and that does not exist.
    #[must_use]
    pub fn missing(&self, device: &Device, group: &Group) -> Option<String> {
        self.missing_of(device, group.id, group.noiommu)
    }

    pub(crate) fn path_of_group(device: &Device, group: GroupId, noiommu: bool) -> String {
        if noiommu && !device.id.is_mdev() {
            format!("{}/noiommu-{group}", Self::FOLDER)
        } else {
            format!("{}/{group}", Self::FOLDER)
        }
    }

    pub(crate) fn missing_of(&self, device: &Device, group: GroupId, noiommu: bool) -> Option<String> {
        if !self.has_node(device, group, noiommu) {
            return Some(Self::path_of_group(device, group, noiommu));
        }
        (!self.container).then(|| Self::CONTAINER.to_owned())
    }

    fn has_node(&self, device: &Device, group: GroupId, noiommu: bool) -> bool {
        let nodes = if noiommu && !device.id.is_mdev() { &self.noiommu } else { &self.groups };
        nodes.contains(&group)
    }

    /// The paths of those character devices of `device` that exist. Kernels without IOMMUFD list names in `vfio-dev/`
    /// and offer no node.
    pub fn cdev_paths<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = String> + 'a {
        device
            .cdevs
            .iter()
            .filter(|name| self.cdevs.contains(*name))
            .map(|name| format!("{}/devices/{name}", Self::FOLDER))
    }
}
