//! What the tests have in common: names, nodes, and the few things that they do to a kubelet.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use vfiod_simulator::{
    kubelet::{AdmittedPod, Health, Kubelet, State},
    node::{Node, NodeBuilder, PciSpec, enter_private_network},
};
use vfiod_tests::agent::PATIENCE;

pub const GPU: &str = "nvidia.com/GPU";
pub const AUDIO: &str = "nvidia.com/AUDIO";
pub const QAT: &str = "intel.com/qat";

pub const GPU_ID: &str = "10DE:1EB8";
pub const AUDIO_ID: &str = "10DE:10F8";
pub const QAT_ID: &str = "8086:6F54";

/// vfiod's own configuration with these PCI selectors, each with its resource.
pub fn pci_config(entries: &[(&str, &str)]) -> String {
    let mut text = "permittedHostDevices:\n  pciHostDevices:\n".to_owned();
    for (selector, name) in entries {
        text += &format!("  - {{pciVendorSelector: \"{selector}\", resourceName: \"{name}\"}}\n");
    }
    if entries.is_empty() { "permittedHostDevices: {}\n".to_owned() } else { text }
}

/// GPU, audio and QAT, each with a resource.
pub fn usual_config() -> String {
    pci_config(&[(GPU_ID, GPU), (AUDIO_ID, AUDIO), (QAT_ID, QAT)])
}

/// A QAT with a group of its own, on `vfio-pci`.
pub fn qat(bdf: &str, group: u32) -> PciSpec {
    PciSpec::new(bdf, QAT_ID).driver("vfio-pci").group(group)
}

/// A GPU and its audio function, which share a group, both on `vfio-pci`: `<at>.0` and `<at>.1`.
pub fn gpu_with_audio(builder: NodeBuilder, at: &str, group: u32) -> NodeBuilder {
    builder
        .pci(PciSpec::new(format!("{at}.0"), GPU_ID).driver("vfio-pci").group(group))
        .pci(PciSpec::new(format!("{at}.1"), AUDIO_ID).class(0x04_03_00).driver("vfio-pci").group(group))
}

/// Two QATs of their own groups.
pub fn two_qats() -> Node {
    Node::builder().pci(qat("0000:3b:00.0", 11)).pci(qat("0000:3c:00.0", 12)).build().unwrap()
}

/// Makes the kubelet look as if it had been up for ten minutes: what it does not list then counts as released.
pub fn age(kubelet: &Kubelet) {
    let then = SystemTime::now() - Duration::from_secs(600);
    let seconds = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = Timespec { tv_sec: seconds.try_into().unwrap(), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, kubelet.plugin_dir().join("kubelet.sock"), &times, AtFlags::empty()).unwrap();
}

/// The names of vfiod's sockets in the kubelet's folder.
pub fn sockets(kubelet: &Kubelet) -> Vec<String> {
    names(&kubelet.plugin_dir()).into_iter().filter(|name| name.starts_with("vfiod-")).collect()
}

/// The sorted names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The ids of a resource that have this health.
pub fn ids(state: &State, resource: &str, health: Health) -> Vec<String> {
    state.devices(resource).into_iter().filter(|(_, device)| device.health == health).map(|(id, _)| id).collect()
}

/// Whether a precondition of a test is there; where a skip is not allowed, its absence is a failure.
pub fn available<E: std::fmt::Display>(what: &str, result: Result<(), E>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            assert!(env::var_os("VFIOD_NO_SKIP").is_none(), "{what}: {error}");
            eprintln!("SKIPPED: {what}: {error}; run as root, or under unshare -Urnm");
            false
        }
    }
}

/// A network of this thread's own, in which the node's uevents reach the agent and nobody else.
pub fn private_network() -> bool {
    available("a private network namespace", enter_private_network())
}

/// The paths of the device nodes that a container was given.
pub fn paths(pod: &AdmittedPod, container: &str) -> Vec<String> {
    let specs = &pod.container(container).unwrap().options.devices;
    assert!(specs.iter().all(|spec| spec.permissions == "mrw" && spec.host_path == spec.container_path));
    specs.iter().map(|spec| spec.host_path.clone()).collect()
}

/// Starts the container again and again, as a kubelet does, until it starts.
pub async fn starts_in_the_end(kubelet: &Kubelet, uid: &str) {
    let begun = Instant::now();
    while let Err(error) = kubelet.start_container(uid, "compute").await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same numbers for the same seed (Knuth's multiplier).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}
