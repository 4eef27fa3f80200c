//! What VFIO shows: `/dev/vfio`, `/sys/class/vfio` and `vfio-dev/`.
//!
//! Kernel: `drivers/vfio/vfio_main.c` (`__vfio_register_dev`, `vfio_unregister_group_dev`), `drivers/vfio/group.c`
//! (`vfio_create_group`, `vfio_device_remove_group`), `drivers/vfio/device_cdev.c`.

use super::{
    Action, Kernel, NodeError,
    removal::Progress,
    world::{Backing, Device, Kind, Registration, World},
};

/// The major numbers are dynamic on a real kernel, and the minor number is not the group's.
const GROUP_MAJOR: u32 = 243;
/// Where the nodes of devices are (kernel: `drivers/vfio/device_cdev.c`, `vfio_devnode`).
const CDEVS: &str = "dev/vfio/devices";
const CDEV_MAJOR: u32 = 511;

impl World {
    /// Registers a device with VFIO: its group gets a node when it is the first of it.
    pub(super) fn vfio_register(&mut self, name: &str) -> Result<(), NodeError> {
        if self.device(name)?.group.is_none() {
            let backing = match self.device(name)?.kind {
                Kind::Pci(_) => Backing::NoIommu,
                Kind::Mdev { .. } => Backing::Emulated,
            };
            let number = self.group_numbers.lowest();
            self.join_group(name, number, backing)?;
        }
        let device = self.device(name)?;
        let (folder, group) = (device.folder.clone(), device.group);
        if let Some(number) = group
            && self.groups.get(&number).is_some_and(|group| group.minor.is_none())
        {
            self.add_group_node(number)?;
        }
        let index = self.vfio_indices.lowest();
        let listed = self.kernel >= Kernel::V6_1;
        self.device_mut(name)?.vfio = Some(Registration { index, listed });
        if listed { self.add_vfio_dev(&folder, index) } else { Ok(()) }
    }

    /// Unregisters a device from VFIO: with the last of its group the node goes.
    ///
    /// Whoever has the device open holds that up; what is gone by then depends on the kernel.
    pub(super) fn vfio_unregister(&mut self, name: &str) -> Result<Progress, NodeError> {
        let device = self.device(name)?;
        let Some(Registration { index, .. }) = device.vfio else { return Ok(Progress::Done) };
        let open = device.open;
        if open && self.kernel < Kernel::V6_12 {
            return Ok(Progress::Blocked);
        }
        self.unlist(name)?;
        if open {
            return Ok(Progress::Blocked);
        }
        let device = self.device_mut(name)?;
        device.vfio = None;
        let group = device.group;
        let without_iommu = match &device.kind {
            Kind::Pci(function) => function.without_iommu,
            Kind::Mdev { .. } => true,
        };
        self.vfio_indices.release(index);
        if let Some(number) = group {
            let registered = self.groups.get(&number).is_some_and(|group| {
                group.members.iter().any(|name| self.devices.get(name).is_some_and(|member| member.vfio.is_some()))
            });
            if !registered {
                self.remove_group_node(number)?;
            }
        }
        if without_iommu {
            self.leave_group(name)?;
        }
        Ok(Progress::Done)
    }

    /// Takes the device's folder in `vfio-dev/` away, if it is there.
    fn unlist(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        let folder = device.folder.clone();
        match &mut device.vfio {
            Some(Registration { index, listed: listed @ true }) => {
                *listed = false;
                let index = *index;
                self.remove_vfio_dev(&folder, index)
            }
            _ => Ok(()),
        }
    }

    /// The name of a group's node: its number, with a prefix where nothing translates
    /// (kernel: `drivers/vfio/group.c`, `vfio_group_alloc` and `vfio_create_group`).
    pub(super) fn node_name(&self, number: u32) -> Result<String, NodeError> {
        match self.groups.get(&number).ok_or(NodeError::NoGroup(number))?.backing {
            Backing::NoIommu => Ok(format!("noiommu-{number}")),
            Backing::Iommu | Backing::Emulated => Ok(number.to_string()),
        }
    }

    fn add_group_node(&mut self, number: u32) -> Result<(), NodeError> {
        let minor = self.minors.lowest();
        if let Some(group) = self.groups.get_mut(&number) {
            group.minor = Some(minor);
        }
        let node = self.node_name(number)?;
        let folder = format!("sys/devices/virtual/vfio/{node}");
        let properties = device_number(GROUP_MAJOR, minor, format!("vfio/{node}"));
        self.class_device(&folder, "vfio", &node, &properties)?;
        self.device_node(&format!("dev/vfio/{node}"), 0o600)?;
        self.emit(Action::Add, &folder, "vfio", properties);
        Ok(())
    }

    fn remove_group_node(&mut self, number: u32) -> Result<(), NodeError> {
        let node = self.node_name(number)?;
        let Some(minor) = self.groups.get_mut(&number).and_then(|group| group.minor.take()) else { return Ok(()) };
        self.minors.release(minor);
        let folder = format!("sys/devices/virtual/vfio/{node}");
        // `device_del` takes the node in /dev first.
        self.tree.remove(&format!("dev/vfio/{node}"))?;
        self.tree.remove(&format!("sys/class/vfio/{node}"))?;
        self.emit(Action::Remove, &folder, "vfio", device_number(GROUP_MAJOR, minor, format!("vfio/{node}")));
        self.tree.remove(&folder)
    }

    fn add_vfio_dev(&mut self, parent: &str, index: u32) -> Result<(), NodeError> {
        let name = format!("vfio{index}");
        let folder = format!("{parent}/vfio-dev/{name}");
        let properties = self.vfio_dev_properties(index);
        self.tree.folder(&format!("{parent}/vfio-dev"))?;
        self.class_device(&folder, "vfio-dev", &name, &properties)?;
        self.tree.link(&format!("{folder}/device"), parent)?;
        if self.cdevs {
            self.tree.folder(CDEVS)?;
            self.device_node(&format!("{CDEVS}/{name}"), 0o600)?;
        }
        self.emit(Action::Add, &folder, "vfio-dev", properties);
        Ok(())
    }

    fn remove_vfio_dev(&mut self, parent: &str, index: u32) -> Result<(), NodeError> {
        let name = format!("vfio{index}");
        let folder = format!("{parent}/vfio-dev/{name}");
        if self.cdevs {
            let listed = |device: &Device| device.vfio.is_some_and(|vfio| vfio.listed);
            // devtmpfs takes a folder away with its last node (kernel: `drivers/base/devtmpfs.c`, `delete_path`).
            let others = self.devices.values().any(listed);
            self.tree.remove(&if others { format!("{CDEVS}/{name}") } else { CDEVS.to_owned() })?;
        }
        self.tree.remove(&format!("sys/class/vfio-dev/{name}"))?;
        self.emit(Action::Remove, &folder, "vfio-dev", self.vfio_dev_properties(index));
        // A device has one `vfio-dev` child, so the folder around it goes, too (`cleanup_glue_dir`).
        self.tree.remove(&format!("{parent}/vfio-dev"))
    }

    /// Without `CONFIG_VFIO_DEVICE_CDEV` the device in the class has no number and no node.
    fn vfio_dev_properties(&self, index: u32) -> Vec<(&'static str, String)> {
        if self.cdevs { device_number(CDEV_MAJOR, index, format!("vfio/devices/vfio{index}")) } else { Vec::new() }
    }

    /// The folder of a device in a class, and the link to it (kernel: `drivers/base/core.c`, `device_add_class_symlinks`).
    fn class_device(
        &mut self,
        folder: &str,
        class: &str,
        name: &str,
        properties: &[(&'static str, String)],
    ) -> Result<(), NodeError> {
        self.tree.folder(folder)?;
        let uevent: String = properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        if uevent.is_empty() {
            self.tree.shared_file(&format!("{folder}/uevent"), 0o644, "")?;
        } else {
            self.tree.file(&format!("{folder}/uevent"), 0o644, uevent)?;
        }
        self.tree.link(&format!("{folder}/subsystem"), &format!("sys/class/{class}"))?;
        self.tree.link(&format!("sys/class/{class}/{name}"), folder)?;
        if let [(_, major), (_, minor), ..] = properties {
            self.tree.file(&format!("{folder}/dev"), 0o444, format!("{major}:{minor}\n"))?;
        }
        Ok(())
    }

    /// Takes away the node of a group, as a stray `rm` or a broken udev rule does; sysfs is not touched, and the
    /// kernel says nothing.
    pub(super) fn node_gone(&mut self, number: u32) -> Result<(), NodeError> {
        let node = self.existing_node(number)?;
        self.tree.remove(&format!("dev/vfio/{node}"))
    }

    /// Puts back what [`Self::node_gone`] took.
    pub(super) fn node_back(&mut self, number: u32) -> Result<(), NodeError> {
        let node = self.existing_node(number)?;
        self.device_node(&format!("dev/vfio/{node}"), 0o600)
    }

    fn existing_node(&self, number: u32) -> Result<String, NodeError> {
        let node = self.node_name(number)?;
        match self.groups.get(&number).and_then(|group| group.minor) {
            Some(_) => Ok(node),
            None => Err(NodeError::NoNode(number)),
        }
    }

    /// A node in `/dev`: an empty file, or a character device that behaves as `/dev/null`.
    pub(super) fn device_node(&mut self, at: &str, mode: u32) -> Result<(), NodeError> {
        if !self.character_devices {
            return self.tree.file(at, mode, "");
        }
        let path = self.tree.place(at);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(mode),
            rustix::fs::makedev(1, 3),
        )
        .map_err(|error| NodeError::io("make the device node", path)(error.into()))
    }
}

/// What `dev_uevent` (kernel: `drivers/base/core.c`) says of a device with a number.
fn device_number(major: u32, minor: u32, name: String) -> Vec<(&'static str, String)> {
    vec![("MAJOR", major.to_string()), ("MINOR", minor.to_string()), ("DEVNAME", name)]
}
