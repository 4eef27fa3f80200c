//! What the host itself says of a device, to hold a plugin's words against.

use crate::discovery::HostRoot;
use std::{fs, path::PathBuf};
use vfiod_core::device::DeviceId;

/// The host, read when it is asked.
#[derive(Debug, Clone)]
pub(super) struct Host {
    root: HostRoot,
}

impl Host {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: HostRoot::new(root) }
    }

    /// Whether the host has this path; a plugin names paths without `--host-root`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.at(path).exists()
    }

    /// The NUMA node of a device, -1 where it has none (kernel: `drivers/pci/pci-sysfs.c`, `numa_node_show`); `None` when
    /// the host does not know the device. A mediated device has the node of its parent.
    pub(super) fn numa(&self, device: DeviceId) -> Option<i64> {
        let folder = self.folder(device);
        let at = if device.is_mdev() { fs::canonicalize(folder).ok()?.parent()?.to_owned() } else { folder };
        fs::read_to_string(at.join("numa_node")).ok()?.trim().parse().ok()
    }

    /// Whether the host has this NUMA node; `None` when it names no nodes at all.
    pub(super) fn has_node(&self, node: i64) -> Option<bool> {
        let nodes = self.root.sys().join("devices/system/node");
        nodes.is_dir().then(|| nodes.join(format!("node{node}")).exists())
    }

    /// The IOMMU group of a device (kernel: `drivers/iommu/iommu.c`, `iommu_group_add_device`, the link `iommu_group`).
    pub(super) fn group(&self, device: DeviceId) -> Option<String> {
        let link = fs::read_link(self.folder(device).join("iommu_group")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    fn folder(&self, device: DeviceId) -> PathBuf {
        let bus = if device.is_mdev() { "mdev" } else { "pci" };
        self.root.sys().join("bus").join(bus).join("devices").join(device.to_string())
    }
}
