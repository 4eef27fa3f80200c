//! PCI functions: their folders, files and links, in the order in which the kernel makes and removes them.
//!
//! Kernel: `drivers/base/core.c` (`device_add`, `device_del`), `drivers/base/bus.c` (`bus_add_device`,
//! `bus_remove_device`), `drivers/pci/pci-sysfs.c` (`pci_dev_dev_attrs`), `drivers/pci/pci-driver.c` (`pci_uevent`).

use super::{
    Action, NodeError,
    address::Address,
    spec::{Grouping, PciSpec},
    world::{Backing, Device, Function, Kind, Parent, World},
};

impl Device {
    /// What `uevent` and the device's events say of it.
    ///
    /// `DRIVER` comes first (kernel: `drivers/base/core.c`, `dev_uevent`), the bus's own lines follow.
    pub(super) fn properties(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(driver) = &self.driver {
            lines.push(("DRIVER", driver.clone()));
        }
        if let Kind::Pci(function) = &self.kind {
            let (id, board) = (function.id, function.subsystem);
            lines.push(("PCI_CLASS", format!("{:04X}", function.class)));
            lines.push(("PCI_ID", format!("{:04X}:{:04X}", id.vendor, id.product)));
            lines.push(("PCI_SUBSYS_ID", format!("{:04X}:{:04X}", board.vendor, board.product)));
            lines.push(("PCI_SLOT_NAME", self.name.clone()));
            lines.push(("MODALIAS", function.modalias()));
        }
        lines
    }

    pub(super) fn uevent(&self) -> String {
        self.properties().into_iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }
}

impl Function {
    fn modalias(&self) -> String {
        let [_, class, subclass, interface] = self.class.to_be_bytes();
        format!(
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{class:02X}sc{subclass:02X}i{interface:02X}",
            self.id.vendor, self.id.product, self.subsystem.vendor, self.subsystem.product
        )
    }
}

impl World {
    /// Adds a function as the kernel does when it finds one, and binds its driver.
    pub(super) fn add_pci(&mut self, spec: PciSpec) -> Result<(), NodeError> {
        let address: Address = spec.bdf.parse()?;
        let folder = self.pci_folder(address, spec.behind.as_deref())?;
        self.add_function(spec, folder, None)
    }

    /// Where a function's folder goes: on a root bus (`pciDDDD:BB`), or below a bridge.
    fn pci_folder(&self, address: Address, behind: Option<&str>) -> Result<String, NodeError> {
        let Some(bridge) = behind else { return Ok(format!("sys/devices/{}/{address}", address.root_bus())) };
        let bridge: Address = bridge.parse()?;
        let above = &self.device(&bridge.to_string())?.folder;
        if bridge.domain == address.domain {
            Ok(format!("{above}/{address}"))
        } else {
            Ok(format!("{above}/{}/{address}", address.root_bus()))
        }
    }

    pub(super) fn add_function(
        &mut self,
        spec: PciSpec,
        folder: String,
        physfn: Option<(String, u16)>,
    ) -> Result<(), NodeError> {
        let address: Address = spec.bdf.parse()?;
        let name = address.to_string();
        if self.devices.contains_key(&name) {
            return Err(NodeError::Exists(name));
        }
        let id = spec.pci_id.parse()?;
        let subsystem = spec.subsystem_id.as_deref().map_or(Ok(id), str::parse)?;
        let group = match &spec.grouping {
            Grouping::Own => Some(self.group_numbers.lowest()),
            Grouping::Number(number) => Some(*number),
            Grouping::With(other) => self.device(&other.parse::<Address>()?.to_string())?.group,
            Grouping::Nowhere => None,
        };
        let function = Function {
            address,
            id,
            subsystem,
            class: spec.class,
            numa: spec.numa,
            without_iommu: group.is_none(),
            vgpu_type: spec.vgpu_type,
            sriov: spec.sriov.clone(),
            physfn,
        };
        let device = Device::new(name.clone(), folder, Kind::Pci(function));

        self.lay_function(&device, spec.driver.as_deref())?;
        if !spec.mdev_types.is_empty() {
            let parent = Parent {
                folder: device.folder.clone(),
                subsystem: "pci".to_owned(),
                types: spec.mdev_types,
                driver: spec.driver.clone(),
                registered: false,
            };
            self.parents.insert(name.clone(), parent);
        }
        self.devices.insert(name.clone(), device.clone());
        if let Some(number) = group {
            self.join_group(&name, number, Backing::Iommu)?;
        }
        self.emit_device(Action::Add, &device);
        self.link_virtual_function(&device)?;
        if let Some(driver) = &spec.driver {
            self.bind(&name, driver)?;
        }
        if let Some(sriov) = &spec.sriov
            && sriov.enabled > 0
        {
            self.enable_vfs(&name, sriov.enabled)?;
        }
        Ok(())
    }

    /// The folder, its files, and the link in the folder of the bus.
    fn lay_function(&mut self, device: &Device, driver: Option<&str>) -> Result<(), NodeError> {
        let Kind::Pci(function) = &device.kind else { return Ok(()) };
        let folder = &device.folder;
        self.tree.folder(folder)?;
        if self.live || driver.is_none() {
            // While the node comes up nobody reads: `bind` writes it, once.
            self.tree.file(&format!("{folder}/uevent"), 0o644, device.uevent())?;
        }
        for (file, mode, text) in [
            ("vendor", 0o444, format!("0x{:04x}\n", function.id.vendor)),
            ("device", 0o444, format!("0x{:04x}\n", function.id.product)),
            ("subsystem_vendor", 0o444, format!("0x{:04x}\n", function.subsystem.vendor)),
            ("subsystem_device", 0o444, format!("0x{:04x}\n", function.subsystem.product)),
            ("revision", 0o444, "0x00\n".to_owned()),
            ("class", 0o444, format!("0x{:06x}\n", function.class)),
            ("modalias", 0o444, format!("{}\n", function.modalias())),
            ("numa_node", 0o644, format!("{}\n", function.numa)),
            ("driver_override", 0o644, "(null)\n".to_owned()),
        ] {
            self.tree.shared_file(&format!("{folder}/{file}"), mode, &text)?;
        }
        if let Some(sriov) = &function.sriov {
            for (file, mode, text) in [
                ("sriov_totalvfs", 0o444, sriov.total.to_string()),
                ("sriov_numvfs", 0o644, "0".to_owned()),
                ("sriov_offset", 0o444, sriov.offset.to_string()),
                ("sriov_stride", 0o444, sriov.stride.to_string()),
                ("sriov_vf_device", 0o444, format!("{:x}", sriov.product)),
                ("sriov_drivers_autoprobe", 0o644, "1".to_owned()),
            ] {
                self.tree.file(&format!("{folder}/{file}"), mode, format!("{text}\n"))?;
            }
        }
        self.tree.link(&format!("sys/bus/pci/devices/{}", device.name), folder)?;
        self.tree.link(&format!("{folder}/subsystem"), "sys/bus/pci")
    }

    /// Removes a function that has no driver and nothing below it any more.
    pub(super) fn remove_function(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device(name)?.clone();
        // `device_del` takes the files first: for a moment the folder is there and empty.
        self.tree.remove(&format!("{}/uevent", device.folder))?;
        self.tree.remove(&format!("{}/subsystem", device.folder))?;
        self.tree.remove(&format!("sys/bus/pci/devices/{name}"))?;
        // The IOMMU hears of it (BUS_NOTIFY_REMOVED_DEVICE) before user space does.
        self.leave_group(name)?;
        self.devices.remove(name);
        self.parents.remove(name);
        self.emit_device(Action::Remove, &device);
        self.tree.remove(&device.folder)
    }
}
