//! Virtual functions (kernel: `drivers/pci/iov.c`) and NVIDIA's vGPUs on them.

use super::{
    Action, NodeError,
    removal::Progress,
    spec::{Grouping, PciSpec, Sriov},
    world::{Device, Function, Kind, World},
};

impl World {
    fn function(&self, name: &str) -> Result<&Function, NodeError> {
        match &self.device(name)?.kind {
            Kind::Pci(function) => Ok(function),
            Kind::Mdev { .. } => Err(NodeError::Address(name.to_owned())),
        }
    }

    fn sriov(&self, name: &str) -> Result<&Sriov, NodeError> {
        self.function(name)?.sriov.as_ref().ok_or_else(|| NodeError::NoSriov(name.to_owned()))
    }

    /// Writes `sriov_numvfs` (`sriov_numvfs_store`).
    pub(super) fn set_numvfs(&mut self, name: &str, count: u16) -> Result<Progress, NodeError> {
        let (total, enabled) = (self.sriov(name)?.total, self.sriov(name)?.enabled);
        if count > total {
            return Err(NodeError::TooManyVfs { device: name.to_owned(), total, asked: count });
        }
        if count == enabled {
            return Ok(Progress::Done);
        }
        if self.device(name)?.driver.is_none() {
            return Err(NodeError::Unbound(name.to_owned()));
        }
        match (count, enabled) {
            (0, _) => self.disable_vfs(name),
            (_, 0) => self.enable_vfs(name, count).map(|()| Progress::Done),
            _ => Err(NodeError::VfsEnabled { device: name.to_owned(), enabled }),
        }
    }

    /// Adds the virtual functions one by one, then counts them (`sriov_enable`, `pci_iov_add_virtfn`).
    pub(super) fn enable_vfs(&mut self, name: &str, count: u16) -> Result<(), NodeError> {
        let device = self.device(name)?.clone();
        let function = self.function(name)?.clone();
        let sriov = self.sriov(name)?.clone();
        let bus = device.folder.rsplit_once('/').map_or("", |(bus, _)| bus);
        for index in 0..count {
            let address = function.address.virtual_function(sriov.offset, sriov.stride, index);
            let id = format!("{:04x}:{:04x}", function.id.vendor, sriov.product);
            let mut spec = PciSpec::new(address.to_string(), id).class(function.class).numa(function.numa);
            spec.subsystem_id = Some(format!("{:04x}:{:04x}", function.subsystem.vendor, function.subsystem.product));
            spec.driver.clone_from(&sriov.driver);
            spec.vgpu_type = sriov.vgpu_type;
            if function.without_iommu {
                spec.grouping = Grouping::Nowhere;
            }
            self.add_function(spec, format!("{bus}/{address}"), Some((name.to_owned(), index)))?;
        }
        self.emit_device(Action::Change, &device);
        self.count_vfs(name, count)
    }

    /// Links a new virtual function with its physical one.
    pub(super) fn link_virtual_function(&mut self, device: &Device) -> Result<(), NodeError> {
        let Kind::Pci(Function { physfn: Some((physfn, index)), .. }) = &device.kind else { return Ok(()) };
        let physical = self.device(physfn)?.folder.clone();
        self.tree.link(&format!("{physical}/virtfn{index}"), &device.folder)?;
        self.tree.link(&format!("{}/physfn", device.folder), &physical)?;
        self.emit_device(Action::Change, device);
        Ok(())
    }

    /// Takes a virtual function's links away, which is the first step of its removal.
    pub(super) fn unlink_virtual_function(&mut self, name: &str) -> Result<(), NodeError> {
        let Kind::Pci(Function { physfn: Some((physfn, index)), .. }) = self.device(name)?.kind.clone() else {
            return Ok(());
        };
        if let Some(physical) = self.devices.get(&physfn) {
            self.tree.remove(&format!("{}/virtfn{index}", physical.folder))?;
        }
        let folder = self.device(name)?.folder.clone();
        self.tree.remove(&format!("{folder}/physfn"))
    }

    /// Removes all virtual functions (`sriov_del_vfs`, `pci_iov_remove_virtfn`).
    pub(super) fn disable_vfs(&mut self, name: &str) -> Result<Progress, NodeError> {
        let mut gone: Vec<(u16, String)> = Vec::new();
        for device in self.devices.values() {
            if let Kind::Pci(Function { physfn: Some((physfn, index)), .. }) = &device.kind
                && physfn == name
            {
                gone.push((*index, device.name.clone()));
            }
        }
        gone.sort();
        for (_, virtual_function) in gone {
            if self.unplug(&virtual_function)? == Progress::Blocked {
                return Ok(Progress::Blocked);
            }
        }
        self.count_vfs(name, 0)?;
        Ok(Progress::Done)
    }

    fn count_vfs(&mut self, name: &str, count: u16) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        let folder = device.folder.clone();
        if let Kind::Pci(Function { sriov: Some(sriov), .. }) = &mut device.kind {
            sriov.enabled = count;
        }
        self.tree.replace(&format!("{folder}/sriov_numvfs"), 0o644, format!("{count}\n"))
    }

    /// Writes `nvidia/current_vgpu_type`: a number makes the function a vGPU, 0 takes it away.
    pub(super) fn set_vgpu_type(&mut self, name: &str, number: u32) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        let Some(driver) = device.driver.clone() else { return Err(NodeError::Unbound(name.to_owned())) };
        let Kind::Pci(function) = &mut device.kind else { return Err(NodeError::Address(name.to_owned())) };
        if number == 0 && device.open {
            return Err(NodeError::Open(name.to_owned()));
        }
        function.vgpu_type = Some(number);
        let registered = device.vfio.is_some();
        let wanted = device.is_vfio_driver(&driver);
        self.show_vgpu_type(name)?;
        match (registered, wanted) {
            (false, true) => self.vfio_register(name),
            (true, false) => self.vfio_unregister(name).map(drop),
            _ => Ok(()),
        }
    }

    /// NVIDIA's driver has the folder `nvidia` on functions that can be vGPUs, as long as it is bound.
    pub(super) fn show_vgpu_type(&mut self, name: &str) -> Result<(), NodeError> {
        let Some(number) = self.function(name)?.vgpu_type else { return Ok(()) };
        let folder = format!("{}/nvidia", self.device(name)?.folder);
        self.tree.folder(&folder)?;
        self.tree.replace(&format!("{folder}/current_vgpu_type"), 0o644, format!("{number}\n"))
    }
}
