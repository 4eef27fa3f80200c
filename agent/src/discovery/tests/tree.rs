//! A folder with the links and files of sysfs, made by hand so that each part can be damaged.

use crate::discovery::{HostRoot, Scan, scan};
use std::{fs, os::unix::fs::symlink, path::PathBuf};
use tempfile::TempDir;
use vfiod_core::device::{Device, DeviceId};

pub(super) struct Tree {
    folder: TempDir,
    pub(super) root: HostRoot,
}

/// Where a function's own folder is.
pub(super) fn home(bdf: &str) -> String {
    format!("sys/devices/pci0000:00/{bdf}")
}

impl Tree {
    /// A host with a PCI bus and nothing on it.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::new(folder.path());
        let tree = Self { folder, root };
        tree.folder("sys/bus/pci/devices").folder("sys/kernel/iommu_groups")
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(super) fn folder(self, path: &str) -> Self {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    pub(super) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        self
    }

    pub(super) fn link(self, path: &str, target: &str) -> Self {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        symlink(target, self.at(path)).unwrap();
        self
    }

    /// Takes a file, link or folder away.
    pub(super) fn without(self, path: &str) -> Self {
        let path = self.at(path);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    /// A function with vendor:product, and a NUMA node as the kernel writes it.
    pub(super) fn pci(self, bdf: &str, pci_id: &str) -> Self {
        self.file(&format!("{}/uevent", home(bdf)), format!("PCI_CLASS=30200\nPCI_ID={pci_id}\nPCI_SLOT_NAME={bdf}\n"))
            .file(&format!("{}/numa_node", home(bdf)), "-1\n")
            .link(&format!("sys/bus/pci/devices/{bdf}"), &format!("../../../devices/pci0000:00/{bdf}"))
    }

    pub(super) fn driver(self, bdf: &str, driver: &str) -> Self {
        self.link(&format!("{}/driver", home(bdf)), &format!("../../../bus/pci/drivers/{driver}"))
    }

    pub(super) fn group(self, bdf: &str, group: &str) -> Self {
        self.link(&format!("{}/iommu_group", home(bdf)), &format!("../../../kernel/iommu_groups/{group}")).link(
            &format!("sys/kernel/iommu_groups/{group}/devices/{bdf}"),
            &format!("../../../../devices/pci0000:00/{bdf}"),
        )
    }

    /// A Tesla T4 on `vfio-pci`, in a group of its own.
    pub(super) fn t4(self, bdf: &str, group: &str) -> Self {
        self.pci(bdf, "10DE:1EB8").driver(bdf, "vfio-pci").group(bdf, group)
    }

    /// An mdev below a function.
    pub(super) fn mdev(self, uuid: &str, parent: &str, type_id: &str) -> Self {
        let own = format!("{}/{uuid}", home(parent));
        self.file(&format!("{own}/uevent"), "")
            .link(&format!("{own}/mdev_type"), &format!("../mdev_supported_types/{type_id}"))
            .folder(&format!("{}/mdev_supported_types/{type_id}", home(parent)))
            .link(&format!("sys/bus/mdev/devices/{uuid}"), &format!("../../../devices/pci0000:00/{parent}/{uuid}"))
    }

    pub(super) fn scan(&self) -> Scan {
        scan(&self.root)
    }

    /// The only way this device is seen: a scan and a targeted read must agree.
    pub(super) fn device(&self, id: &str) -> Device {
        let scan = self.scan();
        assert_eq!(scan.faults, [], "no faults were expected");
        let device = scan.device(id_of(id)).unwrap_or_else(|| panic!("{id} is not in {scan:?}")).clone();
        assert_eq!(
            crate::discovery::read_device(&self.root, device.id),
            super::super::Reading::Present(device.clone())
        );
        device
    }
}

pub(super) fn id_of(id: &str) -> DeviceId {
    id.parse().unwrap()
}
