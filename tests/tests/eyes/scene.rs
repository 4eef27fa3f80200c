//! A node with a kubelet and a running vfiod whose page can be asked.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{AdmittedPod, Kubelet, PodSpec},
    node::{Node, NodeBuilder, PciSpec, Process, ProcessSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE, web};

pub const QAT: &str = "intel.com/qat";
pub const CONFIG: &str =
    "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: \"8086:6F54\", resourceName: intel.com/qat}\n";
const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

pub struct Scene {
    pub node: Node,
    pub folder: TempDir,
    pub kubelet: Kubelet,
    pub agent: Agent,
    /// Where the page is.
    pub address: String,
}

/// QATs in groups of their own.
pub fn qats(count: u32) -> NodeBuilder {
    (0..count).fold(Node::builder(), |builder, number| {
        let bdf = format!("{:04x}:{:02x}:{:02x}.0", 1 + number / 256, 1 + number / 32 % 8, number % 32);
        builder.pci(PciSpec::new(bdf, "8086:6F54").driver("vfio-pci").group(100 + number))
    })
}

pub async fn scene(builder: NodeBuilder, config: &str) -> Scene {
    let (node, folder) = (builder.build().unwrap(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let agent = Agent::builder(node.root(), folder.path(), config).flag("--listen", "127.0.0.1:0").start().unwrap();
    let address = address(&agent, "the page, metrics and readiness are on http://");
    kubelet.wait_for("its devices", PATIENCE, |state| state.allocatable(QAT) > 0).await.unwrap();
    Scene { node, folder, kubelet, agent, address }
}

/// Makes the kubelet look as if it had been up for ten minutes: what it does not list then counts as released.
fn age(kubelet: &Kubelet) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let then = SystemTime::now() - Duration::from_secs(600);
    let seconds = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = Timespec { tv_sec: seconds.try_into().unwrap(), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, kubelet.plugin_dir().join("kubelet.sock"), &times, AtFlags::empty()).unwrap();
}

/// The address that the log gives after `before`.
pub fn address(agent: &Agent, before: &str) -> String {
    agent.wait_for_log(before).unwrap();
    agent.log().split(before).nth(1).unwrap().split('/').next().unwrap().to_owned()
}

impl Scene {
    pub async fn admit(&self, name: &str) -> AdmittedPod {
        self.kubelet.admit(PodSpec::new("vms", name).container("compute", [(QAT, 1)])).await.unwrap()
    }

    /// A process that has opened a device's group: of a pod, or of none.
    pub fn holder(&self, command: &str, pod: Option<&AdmittedPod>, group: u32) -> Process {
        let spec = ProcessSpec::new(command);
        let spec = pod.map_or_else(|| spec.clone(), |pod| spec.clone().in_pod(pod.uid(), CONTAINER));
        let mut process = self.node.start_process(&spec).unwrap();
        process.open(&format!("/dev/vfio/{group}")).unwrap();
        process
    }

    pub fn body(&self, path: &str) -> String {
        web::get(&self.address, path).unwrap().body
    }

    /// Waits until a line of the metrics begins so.
    pub async fn wait_for_metric(&self, begins: &str) {
        eventually(begins, || self.body("/metrics").lines().any(|line| line.starts_with(begins))).await;
    }
}

/// Asks again and again until the answer is right; the kubelet goes on meanwhile.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
