//! From the seed's first YAML block to the domain of a virtual machine: a simulated node and kubelet, the real binary.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Kubelet, PodSpec},
    node::{MdevSpec, MdevType, Node, PciSpec},
};
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

const T4: &str = "nvidia.com/TU104GL_Tesla_T4";
const QAT: &str = "intel.com/qat";
const VGPU: &str = "nvidia.com/GRID_T4-1Q";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

const PERMITTED: &str = r#"
configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: "10DE:1EB8"
      resourceName: "nvidia.com/TU104GL_Tesla_T4"
    - pciVendorSelector: "8086:6F54"
      resourceName: "intel.com/qat"
    mediatedDevices:
    - mdevNameSelector: "GRID T4-1Q"
      resourceName: "nvidia.com/GRID_T4-1Q"
"#;

const MACHINE: &str = "kind: VirtualMachineInstance
spec:
  domain:
    devices:
      gpus:
      - deviceName: nvidia.com/TU104GL_Tesla_T4
        name: gpu1
      - deviceName: nvidia.com/GRID_T4-1Q
        name: gpu2
      hostDevices:
      - deviceName: intel.com/qat
        name: quickaccess1
";

/// What virt-launcher puts into the domain for [`MACHINE`] on [`node`].
const DOMAIN: &str = r#"<hostdev type="pci" managed="no">
  <source>
    <address domain="0x0000" bus="0x65" slot="0x00" function="0x0"/>
  </source>
  <alias name="ua-hostdevice-quickaccess1"/>
</hostdev>
<hostdev type="pci" managed="no">
  <source>
    <address domain="0x0000" bus="0x3b" slot="0x00" function="0x0"/>
  </source>
  <alias name="ua-gpu-gpu1"/>
</hostdev>
<hostdev type="mdev" mode="subsystem" model="vfio-pci" display="on" ramfb="on">
  <source>
    <address uuid="83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"/>
  </source>
  <alias name="ua-gpu-gpu2"/>
</hostdev>
"#;

/// One device of each of the seed's resources.
fn node() -> Node {
    Node::builder()
        .pci(PciSpec::new("0000:3b:00.0", "10DE:1EB8").driver("vfio-pci").numa(0).group(12))
        .pci(PciSpec::new("0000:65:00.0", "8086:6F54").driver("vfio-pci").group(41))
        .pci(
            PciSpec::new("0000:d8:00.0", "10DE:1EB8")
                .driver("nvidia")
                .numa(1)
                .group(42)
                .mdev_type(MdevType::new("nvidia-222", "GRID T4-1Q")),
        )
        .mdev(MdevSpec::new(UUID, "0000:d8:00.0", "nvidia-222"))
        .build()
        .unwrap()
}

/// Files by name, and the binary that reads them.
struct Desk(TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(TempDir::new().unwrap());
        for (name, text) in files {
            fs::write(desk.0.path().join(name), text).unwrap();
        }
        desk
    }

    fn vfiod(&self, args: &[&str]) -> Output {
        Command::new(binary()).env_clear().current_dir(&self.0).args(args).output().unwrap()
    }

    fn check(&self, node: &Node, kubelet: &Path) -> Output {
        let (root, kubelet) = (node.root().to_str().unwrap(), kubelet.to_str().unwrap());
        self.vfiod(&["vmi", "check", "vmi.yaml", "--config", "kv.yaml", "--host-root", root, "--kubelet-dir", kubelet])
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn env_of(variables: &BTreeMap<String, String>) -> String {
    variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

#[tokio::test]
async fn the_seeds_machine_gets_the_devices_that_the_kubelet_allocated() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), PERMITTED).start().unwrap();
    kubelet
        .wait_for("all three resources have their capacity", PATIENCE, |state| {
            [T4, QAT, VGPU].iter().all(|name| state.allocatable(name) == 1)
        })
        .await
        .unwrap();
    let desk = Desk::new(&[("vmi.yaml", MACHINE), ("kv.yaml", PERMITTED)]);
    let before = desk.check(&node, folder.path());
    assert_eq!(before.status.code(), Some(0), "{}", stdout(&before));
    for expected in
        ["VirtualMachineInstance in line 1 would start on this node now", "0000:3b:00.0", "0000:65:00.0", UUID]
    {
        assert!(stdout(&before).contains(expected), "{}", stdout(&before));
    }

    // What virt-controller asks for, the kubelet allocates.
    let requests = desk.vfiod(&["hostdev", "--vmi", "vmi.yaml", "--config", "kv.yaml", "-o", "json"]);
    assert_eq!(requests.status.code(), Some(4), "there are no variables yet");
    let requests: serde_json::Value = serde_json::from_slice(&requests.stdout).unwrap();
    let wanted: Vec<(String, usize)> = requests["machines"][0]["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["resource"].as_str().unwrap().to_owned(), one["units"].as_u64().unwrap() as usize))
        .collect();
    let wanted: Vec<(&str, usize)> = wanted.iter().map(|(name, units)| (name.as_str(), *units)).collect();
    let spec = PodSpec::new("vms", "virt-launcher-a").container("compute", wanted);
    let pod = kubelet.admit(spec).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();

    // Its environment makes the domain.
    let env = env_of(&pod.container("compute").unwrap().options.envs);
    fs::write(desk.0.path().join("env"), env).unwrap();
    let domain = desk.vfiod(&["hostdev", "--vmi", "vmi.yaml", "--env", "env", "--config", "kv.yaml"]);
    assert_eq!(stdout(&domain), DOMAIN);
    assert_eq!((domain.status.code(), domain.stderr.as_slice()), (Some(0), b"".as_slice()));

    // A second one would find nothing left.
    let owned = "0000:65:00.0: owned by pod vms/virt-launcher-a, container compute";
    let begun = Instant::now();
    let said = loop {
        let after = desk.check(&node, folder.path());
        let said = stdout(&after);
        if said.contains(owned) {
            assert_eq!(after.status.code(), Some(4), "{said}");
            break said;
        }
        // A busy machine may make the kubelet answer later than vfiod waits.
        assert!(begun.elapsed() < PATIENCE, "{said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(said.contains("would not start on this node now"), "{said}");
    assert!(said.contains("nvidia.com/GRID_T4-1Q: 1 wanted, 0 of 1 free"), "{said}");
    assert!(said.contains("spec.domain.devices.hostDevices[0]: wants 1, and of 1 devices of intel.com/qat"), "{said}");
}
