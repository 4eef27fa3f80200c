//! Drivers: binding and unbinding (kernel: `drivers/base/dd.c`, `really_probe`, `__device_release_driver`).

use super::{
    Action, Fault, Kernel, NodeError,
    removal::Progress,
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

    /// Takes a device from its driver. The link goes first, the event comes last; in between the driver may wait.
    pub(super) fn unbind(&mut self, name: &str) -> Result<Progress, NodeError> {
        let device = self.device(name)?.clone();
        let Some(driver) = device.driver.clone() else { return Err(NodeError::Unbound(name.to_owned())) };
        if !device.unbinding {
            // `driver_sysfs_remove`
            self.tree.remove(&format!("{}/driver", device.folder))?;
            self.tree.remove(&format!("sys/bus/{}/drivers/{driver}/{name}", device.bus()))?;
            self.device_mut(name)?.unbinding = true;
        }

        if self.release(name)? == Progress::Blocked {
            self.lock_uevent(name)?;
            return Ok(Progress::Blocked);
        }
        let device = self.device_mut(name)?;
        let was_locked = std::mem::take(&mut device.locked);
        device.driver = None;
        device.unbinding = false;
        // The lock is given back when the driver is gone: whoever reads from then on finds the new text.
        self.show_uevent(name)?;
        if was_locked {
            let uevent = format!("{}/uevent", self.device(name)?.folder);
            self.tree.mend(&uevent)?;
        }
        let device = self.device(name)?.clone();
        self.emit_device(Action::Unbind, &device);
        Ok(Progress::Done)
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
    fn release(&mut self, name: &str) -> Result<Progress, NodeError> {
        let is_parent = self.parents.get(name).is_some_and(|parent| parent.registered);
        if is_parent && self.unregister_parent(name)? == Progress::Blocked {
            return Ok(Progress::Blocked);
        }
        // Every driver that enabled virtual functions disables them here, vfio-pci included.
        if let Kind::Pci(function) = &self.device(name)?.kind
            && function.sriov.as_ref().is_some_and(|sriov| sriov.enabled > 0)
            && self.disable_vfs(name)? == Progress::Blocked
        {
            return Ok(Progress::Blocked);
        }
        if self.vfio_unregister(name)? == Progress::Blocked {
            return Ok(Progress::Blocked);
        }
        let folder = self.device(name)?.folder.clone();
        self.tree.remove(&format!("{folder}/nvidia"))?;
        Ok(Progress::Done)
    }

    /// Writes `uevent` anew from what the device is now.
    pub(super) fn show_uevent(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device(name)?.clone();
        if device.leaving {
            return Ok(());
        }
        let at = format!("{}/uevent", device.folder);
        if self.live {
            self.tree.replace(&at, 0o644, device.uevent())
        } else {
            self.tree.file(&at, 0o644, device.uevent())
        }
    }

    /// Makes `uevent` a file whose reader waits: unbinding holds the device's lock until the driver is done, and up to
    /// Linux 6.14 reading `uevent` takes it (kernel: `drivers/base/core.c`, `uevent_show`; seen on Debian's 6.1.192, where
    /// such a reader cannot even be killed). `vendor`, `device`, `class` and `numa_node` can be read meanwhile.
    fn lock_uevent(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device(name)?;
        let at = format!("{}/uevent", device.folder);
        if device.locked || device.leaving || self.kernel != Kernel::V6_1 || self.tree.is_hidden(&at) {
            return Ok(());
        }
        self.device_mut(name)?.locked = true;
        self.tree.hide(&at)?;
        self.tree.put(&at, |path| Fault::Hanging.lay(path))
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
