//! A pod that runs, and opening what it was given as the program in it would.

use super::opener::{self, CONTAINER, Group, Holder, Opened};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use vfiod_simulator::kubelet::{AdmittedContainer, AdmittedPod, Kubelet};

/// The one container of each pod, named as KubeVirt names it.
pub const COMPUTE: &str = "compute";

/// A pod that runs. It ends and is deleted when the value is dropped.
pub struct Pod {
    kubelet: Rc<Kubelet>,
    admitted: AdmittedPod,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kubelet.finish_pod(self.uid());
        self.kubelet.delete_pod(self.uid());
    }
}

impl Pod {
    /// A pod that `kubelet` admitted.
    pub fn new(kubelet: Rc<Kubelet>, admitted: AdmittedPod) -> Self {
        Self { kubelet, admitted }
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.admitted.uid()
    }

    /// The ids that the kubelet gave it, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.admitted.device_ids()
    }

    /// The devices that its environment names under `variable`, in their order.
    pub fn named_by(&self, variable: &str) -> Result<Vec<String>> {
        let envs = &self.container()?.options.envs;
        let value = envs.get(variable);
        let value = value.with_context(|| format!("{variable} is not set; there are {:?}", envs.keys()))?;
        Ok(value.split(',').map(str::to_owned).collect())
    }

    /// Its environment variables and its device nodes, a line each.
    pub fn environment(&self) -> Result<Vec<String>> {
        let options = &self.container()?.options;
        let variables = options.envs.iter().map(|(name, value)| format!("{name}={value}"));
        let nodes = options.devices.iter().map(|spec| format!("{:<16} {}", spec.host_path, spec.permissions));
        Ok(variables.chain(nodes).collect())
    }

    /// Opens everything that it was given, by exactly the paths that it was given, and closes it.
    pub fn open(&self) -> Result<Opened> {
        opener::open(&self.granted()?)
    }

    /// Opens everything that it was given, and holds it.
    pub fn hold(&self) -> Result<Holder> {
        Holder::open(&self.granted()?)
    }

    /// Each group's path with the ids in it. It, the devices' own nodes and the container's path must have come once, with all permissions, and
    /// no path may have come that belongs to no device of the pod.
    fn granted(&self) -> Result<Vec<Group>> {
        let mut groups: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for id in self.ids() {
            groups.entry(node_of(&id)?).or_default().push(id);
        }
        let own: Vec<PathBuf> = self.ids().iter().filter_map(|id| own_node(id)).collect();
        let nodes = groups.keys().chain(&own).map(PathBuf::as_path);
        let mut expected: Vec<&Path> = nodes.chain([Path::new(CONTAINER)]).collect();
        let specs = &self.container()?.options.devices;
        for spec in specs {
            ensure!(spec.host_path == spec.container_path, "{} becomes {}", spec.host_path, spec.container_path);
            ensure!(spec.permissions == "mrw", "{} has permissions {}", spec.host_path, spec.permissions);
            match expected.iter().position(|path| *path == Path::new(&spec.host_path)) {
                Some(at) => drop(expected.swap_remove(at)),
                None => bail!("{} is given twice, or for nothing: {specs:?}", spec.host_path),
            }
        }
        ensure!(expected.is_empty(), "{expected:?} are not given");
        Ok(groups.into_iter().collect())
    }

    fn container(&self) -> Result<&AdmittedContainer> {
        self.admitted.container(COMPUTE).context("the pod has no container")
    }
}

/// The node of its own of a PCI device or an mdev, where the kernel makes such.
fn own_node(id: &str) -> Option<PathBuf> {
    let folders = ["pci", "mdev"].map(|bus| format!("/sys/bus/{bus}/devices/{id}/vfio-dev"));
    let mut entries = folders.iter().find_map(|folder| std::fs::read_dir(folder).ok())?;
    let node = Path::new("/dev/vfio/devices").join(entries.next()?.ok()?.file_name());
    node.exists().then_some(node)
}

/// The group's node of a PCI device or an mdev, as sysfs has it.
pub fn node_of(id: &str) -> Result<PathBuf> {
    let links = ["pci", "mdev"].map(|bus| format!("/sys/bus/{bus}/devices/{id}/iommu_group"));
    let group = links.iter().find_map(|link| std::fs::read_link(link).ok());
    let group = group.with_context(|| format!("{id} has no IOMMU group"))?;
    Ok(Path::new("/dev/vfio").join(group.file_name().context("a group without a name")?))
}
