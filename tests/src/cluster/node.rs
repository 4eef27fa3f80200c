//! The host that vfiod sees, and the node that the API shows.

use super::{
    kubectl::Kubectl,
    setting::{NODE, Setting},
};
use anyhow::{Context, Result, bail};
use std::{fs, path::PathBuf, process::Command};
use vfiod_simulator::node::{MdevFleet, MdevType, Node, PciFleet, PciSpec};

pub(super) const GPU: &str = "nvidia.com/TU104GL_Tesla_T4";
pub(super) const QAT: &str = "intel.com/qat";
pub(super) const VGPU: &str = "nvidia.com/GRID_T4-1Q";

/// A simulated host: four T4s in groups 31 to 34, two QATs and four vGPUs. Its nodes are devices that behave as
/// `/dev/null`, and are also the machine's `/dev/vfio`: there the engine looks for them.
pub(super) struct Host {
    node: Node,
    root: PathBuf,
}

impl Host {
    pub(super) fn make(setting: &Setting) -> Result<Self> {
        let root = setting.at("host");
        fs::create_dir_all(&root)?;
        let mut builder = Node::builder().at(&root).character_devices();
        for (bus, group) in [("3b", 31), ("5e", 32), ("af", 33), ("d8", 34)] {
            let address = format!("0000:{bus}:00.0");
            builder = builder.pci(PciSpec::new(address, "10DE:1EB8").driver("vfio-pci").group(group));
        }
        let parents = PciFleet::new("10DE:1EB8", 1).first_domain(2).driver("nvidia");
        let node = builder
            .pci_fleet(&PciFleet::new("8086:6F54", 2).first_domain(1).driver("vfio-pci"))
            .mdev_fleet(&MdevFleet::new(MdevType::new("nvidia-222", "GRID T4-1Q"), 4, parents))
            .build()?;
        fs::create_dir_all("/dev/vfio")?;
        let status = Command::new("mount").arg("--bind").arg(root.join("dev/vfio")).arg("/dev/vfio").status();
        if !status.context("cannot run mount")?.success() {
            bail!("cannot mount the simulated nodes on /dev/vfio");
        }
        Ok(Self { node, root })
    }

    /// Takes the node of the first T4 away, or gives it back.
    pub(super) fn first_card(&self, is_there: bool) -> Result<()> {
        Ok(if is_there { self.node.node_back(31) } else { self.node.node_gone(31) }?)
    }

    /// The kustomization that shows this host to vfiod.
    pub(super) fn overlay(&self, setting: &Setting, workspace: &std::path::Path) -> Result<PathBuf> {
        let folder = setting.at("overlay");
        fs::create_dir_all(&folder)?;
        // kustomize takes no absolute path.
        let up = folder.components().skip(1).map(|_| "../").collect::<String>();
        let base = workspace.join("deploy/overlays/kubevirt");
        let base = format!("{up}{}", base.display().to_string().trim_start_matches('/'));
        let text = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nbases:\n- {base}\n\
             patchesStrategicMerge:\n- host.yaml\n"
        );
        fs::write(folder.join("kustomization.yaml"), text)?;
        fs::write(folder.join("host.yaml"), PATCH.replace("FOLDER", &self.root.display().to_string()))?;
        Ok(folder)
    }
}

const PATCH: &str = r"apiVersion: apps/v1
kind: DaemonSet
metadata: {name: vfiod, namespace: vfiod}
spec:
  template:
    spec:
      containers:
      - name: vfiod
        env:
        - {name: VFIOD_HOST_ROOT, value: /host}
        volumeMounts:
        - {name: host, mountPath: /host, readOnly: true}
      volumes:
      - name: host
        hostPath: {path: FOLDER, type: Directory}
";

/// How many units of a resource a node has: capacity and allocatable. Nothing: it does not know the resource.
pub(super) type Counts = Option<(u64, u64)>;

/// What the API says of the node, by resource.
pub(super) fn counts<const N: usize>(kubectl: &Kubectl, resources: [&str; N]) -> Result<[Counts; N]> {
    let node = kubectl.json(&["get", "node", NODE])?;
    let status = |field: &str| node.pointer(&format!("/status/{field}"));
    let count = |field: &str, resource: &str| status(field)?.get(resource)?.as_str()?.parse().ok();
    Ok(resources.map(|resource| Some((count("capacity", resource)?, count("allocatable", resource)?))))
}
