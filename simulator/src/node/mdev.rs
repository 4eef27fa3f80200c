//! Mediated devices (kernel: `drivers/vfio/mdev/mdev_core.c`, `drivers/vfio/mdev/mdev_sysfs.c`).

use super::{
    Action, NodeError,
    removal::Progress,
    spec::{MdevSpec, MdevType, VirtualParent},
    world::{Device, Kind, Parent, World},
};

impl World {
    /// Makes a parent that is no PCI device, and registers it.
    pub(super) fn add_virtual_parent(&mut self, spec: VirtualParent) -> Result<(), NodeError> {
        if self.parents.contains_key(&spec.name) {
            return Err(NodeError::Exists(spec.name));
        }
        let folder = format!("sys/devices/virtual/{}/{}", spec.class, spec.name);
        self.tree.folder(&folder)?;
        self.tree.file(&format!("{folder}/uevent"), 0o644, "")?;
        self.tree.folder(&format!("sys/class/{}", spec.class))?;
        self.tree.link(&format!("sys/class/{}/{}", spec.class, spec.name), &folder)?;
        self.tree.link(&format!("{folder}/subsystem"), &format!("sys/class/{}", spec.class))?;
        let parent = Parent { folder, subsystem: spec.class, types: spec.types, driver: None, registered: false };
        self.parents.insert(spec.name.clone(), parent);
        self.register_parent(&spec.name)
    }

    /// Shows a parent's types (`mdev_register_parent`).
    pub(super) fn register_parent(&mut self, name: &str) -> Result<(), NodeError> {
        let Some(parent) = self.parents.get_mut(name) else { return Ok(()) };
        parent.registered = true;
        let parent = parent.clone();
        for offered in &parent.types {
            let folder = format!("{}/mdev_supported_types/{}", parent.folder, offered.id);
            self.tree.folder(&format!("{folder}/devices"))?;
            self.tree.file(&format!("{folder}/create"), 0o200, "")?;
            self.tree.file(&format!("{folder}/device_api"), 0o444, format!("{}\n", offered.device_api))?;
            if let Some(text) = &offered.name {
                self.tree.file(&format!("{folder}/name"), 0o444, format!("{text}\n"))?;
            }
            self.tree.file(&format!("{folder}/available_instances"), 0o444, format!("{}\n", offered.available))?;
            if let Some(text) = &offered.description {
                self.tree.file(&format!("{folder}/description"), 0o444, format!("{text}\n"))?;
            }
        }
        self.tree.folder("sys/class/mdev_bus")?;
        self.tree.link(&format!("sys/class/mdev_bus/{name}"), &parent.folder)?;
        self.announce_parent(name, &parent, "registered");
        Ok(())
    }

    /// Removes a parent's mdevs and hides its types (`mdev_unregister_parent`).
    pub(super) fn unregister_parent(&mut self, name: &str) -> Result<Progress, NodeError> {
        self.tree.remove(&format!("sys/class/mdev_bus/{name}"))?;
        let children: Vec<String> = self
            .devices
            .values()
            .filter(|device| matches!(&device.kind, Kind::Mdev { parent, .. } if parent == name))
            .map(|device| device.name.clone())
            .collect();
        for child in children {
            if self.remove_mdev(&child)? == Progress::Blocked {
                return Ok(Progress::Blocked);
            }
        }
        let Some(parent) = self.parents.get_mut(name) else { return Ok(Progress::Done) };
        parent.registered = false;
        let parent = parent.clone();
        self.tree.remove(&format!("{}/mdev_supported_types", parent.folder))?;
        self.announce_parent(name, &parent, "unregistered");
        Ok(Progress::Done)
    }

    fn announce_parent(&mut self, name: &str, parent: &Parent, state: &str) {
        let mut properties = vec![("MDEV_STATE", state.to_owned())];
        properties.extend(self.devices.get(name).map(Device::properties).unwrap_or_default());
        self.emit(Action::Change, &parent.folder, &parent.subsystem, properties);
    }

    /// Makes an mdev (`mdev_device_create`).
    ///
    /// The order is the kernel's, and it has a trap: `mdev_type` is linked only after `add` and `bind` were announced.
    pub(super) fn create_mdev(&mut self, spec: MdevSpec) -> Result<(), NodeError> {
        let name = canonical_uuid(&spec.uuid)?;
        if self.devices.contains_key(&name) {
            return Err(NodeError::Exists(name));
        }
        let parent_name = spec.parent.to_ascii_lowercase();
        let parent_name = if self.parents.contains_key(&spec.parent) { spec.parent } else { parent_name };
        let type_folder = self.take_instance(&parent_name, &spec.type_id)?;
        let folder = format!("{}/{name}", self.parent_folder(&parent_name));
        let kind = Kind::Mdev { parent: parent_name, type_id: spec.type_id };
        let device = Device::new(name.clone(), folder.clone(), kind);
        self.tree.folder(&folder)?;
        if self.live || spec.driver.is_none() {
            // While the node comes up nobody reads: `bind` writes it, once.
            self.tree.file(&format!("{folder}/uevent"), 0o644, "")?;
        }
        self.tree.shared_file(&format!("{folder}/remove"), 0o200, "")?;
        self.tree.link(&format!("sys/bus/mdev/devices/{name}"), &folder)?;
        self.tree.link(&format!("{folder}/subsystem"), "sys/bus/mdev")?;
        self.devices.insert(name.clone(), device.clone());
        self.emit_device(Action::Add, &device);
        if let Some(driver) = &spec.driver {
            self.bind(&name, driver)?;
        }
        self.tree.link(&format!("{type_folder}/devices/{name}"), &folder)?;
        self.tree.link(&format!("{folder}/mdev_type"), &type_folder)
    }

    /// Removes an mdev (`mdev_device_remove_common`): unlike a PCI function it leaves the bus before its driver.
    /// While somebody has it open, only its folder with `iommu_group` and `vfio-dev` stays.
    pub(super) fn remove_mdev(&mut self, name: &str) -> Result<Progress, NodeError> {
        let device = self.device(name)?.clone();
        let Kind::Mdev { parent, type_id } = device.kind.clone() else { return Err(NodeError::Uuid(name.to_owned())) };
        let type_folder = format!("{}/mdev_supported_types/{type_id}", self.parent_folder(&parent));
        self.tree.remove(&format!("{}/mdev_type", device.folder))?;
        self.tree.remove(&format!("{type_folder}/devices/{name}"))?;
        for file in ["uevent", "remove", "subsystem"] {
            self.tree.remove(&format!("{}/{file}", device.folder))?;
        }
        self.device_mut(name)?.leaving = true;
        self.tree.remove(&format!("sys/bus/mdev/devices/{name}"))?;
        if device.driver.is_some() && self.unbind(name)? == Progress::Blocked {
            return Ok(Progress::Blocked);
        }
        let device = self.devices.remove(name).unwrap_or(device);
        self.emit_device(Action::Remove, &device);
        self.tree.remove(&device.folder)?;
        self.count_instances(&parent, &type_id, |available| available.checked_add(1))?;
        Ok(Progress::Done)
    }

    fn parent_folder(&self, name: &str) -> String {
        self.parents.get(name).map(|parent| parent.folder.clone()).unwrap_or_default()
    }

    /// Takes one instance of a type, and says where the type's folder is.
    fn take_instance(&mut self, parent: &str, type_id: &str) -> Result<String, NodeError> {
        if !self.parents.get(parent).is_some_and(|parent| parent.registered) {
            return Err(NodeError::NoMdevType { parent: parent.to_owned(), type_id: type_id.to_owned() });
        }
        self.count_instances(parent, type_id, |available| available.checked_sub(1))
    }

    /// Changes `available_instances` of a type, and says where the type's folder is.
    fn count_instances(
        &mut self,
        parent: &str,
        type_id: &str,
        change: impl FnOnce(u32) -> Option<u32>,
    ) -> Result<String, NodeError> {
        let missing = || NodeError::NoMdevType { parent: parent.to_owned(), type_id: type_id.to_owned() };
        let entry = self.parents.get_mut(parent).ok_or_else(missing)?;
        let folder = format!("{}/mdev_supported_types/{type_id}", entry.folder);
        let offered: &mut MdevType =
            entry.types.iter_mut().find(|offered| offered.id == type_id).ok_or_else(missing)?;
        offered.available = change(offered.available)
            .ok_or_else(|| NodeError::NoInstance { parent: parent.to_owned(), type_id: type_id.to_owned() })?;
        let text = format!("{}\n", offered.available);
        self.tree.replace(&format!("{folder}/available_instances"), 0o444, text)?;
        Ok(folder)
    }
}

/// The form in which the kernel names mdevs: lower case with hyphens (`%pUl`).
pub(super) fn canonical_uuid(text: &str) -> Result<String, NodeError> {
    uuid::Uuid::try_parse(text).map(|uuid| uuid.hyphenated().to_string()).map_err(|_| NodeError::Uuid(text.to_owned()))
}
