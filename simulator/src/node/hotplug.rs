//! Hot-unplug (kernel: `drivers/pci/remove.c`, `pci_stop_and_remove_bus_device`).

use super::{
    NodeError,
    removal::Progress,
    world::{Kind, World},
};

impl World {
    /// Removes a PCI function and all that is below it.
    pub(super) fn unplug(&mut self, name: &str) -> Result<Progress, NodeError> {
        self.unlink_virtual_function(name)?;
        // All functions are stopped before the first is removed (`pci_stop_bus_device`, `pci_remove_bus_device`), each
        // bridge's children before itself, the newest first.
        let doomed = self.with_descendants(name);
        for name in &doomed {
            let bound = self.devices.get(name).is_some_and(|device| device.driver.is_some());
            if bound && self.unbind(name)? == Progress::Blocked {
                return Ok(Progress::Blocked);
            }
        }
        for name in &doomed {
            // Virtual functions went when their physical function was stopped.
            if self.devices.contains_key(name) {
                self.remove_function(name)?;
            }
        }
        Ok(Progress::Done)
    }

    /// The PCI functions below a function, deepest first, and itself last.
    fn with_descendants(&self, name: &str) -> Vec<String> {
        let Some(top) = self.devices.get(name) else { return Vec::new() };
        let inside = format!("{}/", top.folder);
        let mut below: Vec<_> = self
            .devices
            .values()
            .filter(|device| matches!(device.kind, Kind::Pci(_)) && device.folder.starts_with(&inside))
            .collect();
        below.sort_by(|a, b| {
            let depth = |folder: &str| folder.matches('/').count();
            depth(&b.folder).cmp(&depth(&a.folder)).then_with(|| b.name.cmp(&a.name))
        });
        below.into_iter().chain([top]).map(|device| device.name.clone()).collect()
    }
}
