//! A simulated node for one size of the measurement, and what is permitted on it.

use crate::plan::{Plan, Planned};
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use vfiod_simulator::node::{Node, PciFleet, PciSpec};

/// Resources are named after this and numbered.
const RESOURCE: &str = "bench.vfiod.dev/device";
/// What a resource's name becomes in a variable (docs/CONFIG.md).
const VARIABLE: &str = "PCI_RESOURCE_BENCH_VFIOD_DEV_DEVICE";

/// A node with one or more resources of equal size.
#[derive(Debug)]
pub struct Host {
    node: Node,
    folder: tempfile::TempDir,
    groups: HashMap<String, u32>,
    functions: HashMap<String, PciSpec>,
    /// How many devices there are.
    pub devices: usize,
    /// The resources, in the order of their devices.
    pub resources: Vec<String>,
}

impl Host {
    /// Lays out `devices` functions on `vfio-pci`, each in an IOMMU group of its own, on two NUMA nodes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn build(devices: usize, resources: usize) -> Result<Self> {
        let folder = quiet_folder()?;
        let each = devices / resources.max(1);
        let fleet = |index: usize| {
            let domain = u32::try_from(index).unwrap_or_default();
            let pci_id = format!("10DE:{:04X}", 0x1000 + index);
            PciFleet::new(pci_id, each).first_domain(domain).driver("vfio-pci").numa_nodes(2)
        };
        let fleets: Vec<PciFleet> = (0..resources).map(fleet).collect();
        let node = fleets.iter().fold(Node::builder(), |builder, fleet| builder.pci_fleet(fleet)).build()?;
        let mut host = Self {
            groups: HashMap::with_capacity(devices),
            functions: HashMap::with_capacity(devices),
            devices: each * resources,
            resources: (0..resources).map(|index| format!("{RESOURCE}{index}")).collect(),
            node,
            folder,
        };
        for (id, function) in fleets.iter().flat_map(|fleet| fleet.addresses().into_iter().zip(fleet.functions())) {
            let group = host.node.group_of(&id).with_context(|| format!("{id} has no IOMMU group"))?;
            host.groups.insert(id.clone(), group);
            host.functions.insert(id, function);
        }
        let entries = host.resources.iter().enumerate().map(|(index, resource)| {
            format!("  - pciVendorSelector: \"10DE:{:04X}\"\n    resourceName: \"{resource}\"\n", 0x1000 + index)
        });
        let text = format!("permittedHostDevices:\n  pciHostDevices:\n{}", entries.collect::<String>());
        fs::write(host.config(), text)?;
        fs::write(host.spare_node(), "")?;
        if resources == 1 {
            host.plan().write(&host.plan_path())?;
        }
        Ok(host)
    }

    /// The folder that stands for `/`.
    pub fn root(&self) -> &Path {
        self.node.root()
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("permitted.yaml")
    }

    /// The floor's plan, of a host with one resource.
    pub fn plan_path(&self) -> PathBuf {
        self.folder.path().join("plan")
    }

    /// A node that no device has, outside the folder that is watched.
    pub fn spare_node(&self) -> PathBuf {
        self.root().join("dev/spare")
    }

    /// The ids of all devices, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.groups.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// A new kubelet's folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kubelet_dir(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("kubelet-").tempdir_in(self.folder.path())?)
    }

    /// The node through which a device is opened. Some plugins use the group's number as the id.
    pub fn node_of(&self, id: &str) -> Option<PathBuf> {
        let group = self.groups.get(id).copied().or_else(|| id.parse().ok())?;
        Some(self.root().join(format!("dev/vfio/{group}")))
    }

    /// Takes a device out of the host.
    ///
    /// # Errors
    /// When the host does not have it.
    pub fn unplug(&self, id: &str) -> Result<()> {
        self.node.unplug(id)?;
        Ok(())
    }

    /// Puts a device back that was taken out; it gets the first group that is free.
    ///
    /// # Errors
    /// When the host has it.
    pub fn plug(&self, id: &str) -> Result<()> {
        let function = self.functions.get(id).with_context(|| format!("the host never had {id}"))?;
        self.node.plug(function.clone())?;
        Ok(())
    }

    fn plan(&self) -> Plan {
        let mut ids: Vec<(&String, &u32)> = self.groups.iter().collect();
        ids.sort_unstable();
        let numa = |id: &str| {
            let text = fs::read_to_string(self.root().join("sys/bus/pci/devices").join(id).join("numa_node"));
            text.ok()?.trim().parse().ok()
        };
        let devices = ids.into_iter().map(|(id, &group)| Planned { id: id.clone(), numa: numa(id), group }).collect();
        // As vfiod does, in both spellings of the name.
        let variables = vec![format!("{VARIABLE}0"), "PCI_RESOURCE_BENCH_VFIOD_DEV_device0".to_owned()];
        Plan { resource: self.resources.first().cloned().unwrap_or_default(), variables, devices }
    }
}

/// A temporary folder in memory, where there is such: in that of everybody's temporary files, a server that watches for the
/// folder to go and come is woken by each file of other programs.
fn quiet_folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}
