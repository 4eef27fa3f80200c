//! Drivers: binding and unbinding (kernel: `drivers/base/dd.c`, `really_probe`, `__device_release_driver`).

use super::{
    Action, NodeError,
    world::{Kind, World},
};

impl World {
    /// Binds a device to a driver.
    pub(super) fn bind(&mut self, name: &str, driver: &str) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        if let Some(bound) = &device.driver {
            return Err(NodeError::Bound { device: name.to_owned(), driver: bound.clone() });
        }
        device.driver = Some(driver.to_owned());
        let device = device.clone();
        let folder = self.driver_folder(device.bus(), driver)?;
        // `dev->driver` is set first, and `uevent` shows it; then `driver_sysfs_add` makes both links.
        self.show_uevent(name)?;
        self.tree.link(&format!("{folder}/{name}"), &device.folder)?;
        self.tree.link(&format!("{}/driver", device.folder), &folder)?;

        self.probe(name, driver)?;

        let device = self.device(name)?.clone();
        self.emit_device(Action::Bind, &device);
        Ok(())
    }

    /// Takes a device from its driver. The link goes first, the event comes last.
    pub(super) fn unbind(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device(name)?.clone();
        let Some(driver) = device.driver.clone() else { return Err(NodeError::Unbound(name.to_owned())) };
        // `driver_sysfs_remove`
        self.tree.remove(&format!("{}/driver", device.folder))?;
        self.tree.remove(&format!("sys/bus/{}/drivers/{driver}/{name}", device.bus()))?;

        self.release(name)?;

        self.device_mut(name)?.driver = None;
        self.show_uevent(name)?;
        let device = self.device(name)?.clone();
        self.emit_device(Action::Unbind, &device);
        Ok(())
    }

    /// What the driver does when it gets the device.
    fn probe(&mut self, name: &str, driver: &str) -> Result<(), NodeError> {
        if driver == "nvidia" {
            self.show_vgpu_type(name)?;
        }
        if self.device(name)?.is_vfio_driver(driver) {
            return self.vfio_register(name);
        }
        if self.parents.get(name).is_some_and(|parent| parent.driver.as_deref().is_none_or(|own| own == driver)) {
            return self.register_parent(name);
        }
        Ok(())
    }

    /// What the driver does before it lets the device go.
    fn release(&mut self, name: &str) -> Result<(), NodeError> {
        if self.parents.get(name).is_some_and(|parent| parent.registered) {
            self.unregister_parent(name)?;
        }
        // Every driver that enabled virtual functions disables them here, vfio-pci included.
        if let Kind::Pci(function) = &self.device(name)?.kind
            && function.sriov.as_ref().is_some_and(|sriov| sriov.enabled > 0)
        {
            self.disable_vfs(name)?;
        }
        self.vfio_unregister(name)?;
        let folder = self.device(name)?.folder.clone();
        self.tree.remove(&format!("{folder}/nvidia"))
    }

    /// Writes `uevent` anew from what the device is now.
    pub(super) fn show_uevent(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device(name)?.clone();
        let at = format!("{}/uevent", device.folder);
        if self.live {
            self.tree.replace(&at, 0o644, device.uevent())
        } else {
            self.tree.file(&at, 0o644, device.uevent())
        }
    }

    /// The folder of a driver, which is loaded if it is not there yet (kernel: `drivers/base/bus.c`, `bus_add_driver`).
    fn driver_folder(&mut self, bus: &'static str, driver: &str) -> Result<String, NodeError> {
        let folder = format!("sys/bus/{bus}/drivers/{driver}");
        if self.drivers.insert(folder.clone()) {
            self.tree.folder(&folder)?;
            self.emit(Action::Add, &folder, "drivers", Vec::new());
        }
        Ok(folder)
    }
}
