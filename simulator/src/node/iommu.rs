//! IOMMU groups: `/sys/kernel/iommu_groups` (kernel: `drivers/iommu/iommu.c`, `iommu_group_alloc`,
//! `iommu_group_add_device`, `__iommu_group_remove_device`).

use std::collections::BTreeSet;

use super::{
    NodeError,
    world::{Backing, Group, World},
};

impl World {
    /// Puts a device into a group, which is made when it is the first.
    pub(super) fn join_group(&mut self, name: &str, number: u32, backing: Backing) -> Result<(), NodeError> {
        let folder = self.device(name)?.folder.clone();
        let group = format!("sys/kernel/iommu_groups/{number}");
        if !self.groups.contains_key(&number) {
            self.group_numbers.reserve(number);
            self.groups.insert(number, Group { backing, members: BTreeSet::new(), minor: None });
            self.tree.folder(&group)?;
            self.tree.folder(&format!("{group}/devices"))?;
            self.tree.shared_file(&format!("{group}/reserved_regions"), 0o444, RESERVED)?;
            // `iommu_group_show_type`: without a default domain it is unknown.
            let kind = if backing == Backing::Iommu { "DMA-FQ\n" } else { "unknown\n" };
            self.tree.shared_file(&format!("{group}/type"), 0o644, kind)?;
            if backing != Backing::Iommu {
                // `vfio_noiommu_group_alloc` (drivers/vfio/group.c) names groups of mdevs so, too.
                self.tree.shared_file(&format!("{group}/name"), 0o444, "vfio-noiommu\n")?;
            }
        }
        if let Some(entry) = self.groups.get_mut(&number) {
            entry.members.insert(name.to_owned());
        }
        self.device_mut(name)?.group = Some(number);
        self.tree.link(&format!("{folder}/iommu_group"), &group)?;
        self.tree.link(&format!("{group}/devices/{name}"), &folder)
    }

    /// Takes a device out of its group; a group without members goes.
    pub(super) fn leave_group(&mut self, name: &str) -> Result<(), NodeError> {
        let device = self.device_mut(name)?;
        let Some(number) = device.group.take() else { return Ok(()) };
        let folder = device.folder.clone();
        let group = format!("sys/kernel/iommu_groups/{number}");
        self.tree.remove(&format!("{group}/devices/{name}"))?;
        self.tree.remove(&format!("{folder}/iommu_group"))?;
        let Some(entry) = self.groups.get_mut(&number) else { return Ok(()) };
        entry.members.remove(name);
        if entry.members.is_empty() {
            self.groups.remove(&number);
            self.group_numbers.release(number);
            self.tree.remove(&group)?;
        }
        Ok(())
    }
}

/// What an Intel IOMMU reserves on every group (kernel: `drivers/iommu/intel/iommu.c`, `intel_iommu_get_resv_regions`).
const RESERVED: &str = "0x00000000fee00000 0x00000000feefffff msi\n";
