//! Kubelets before 1.26, which give the path of the plugin's socket as HTTP/2 authority (kubernetes#112597), beside newer
//! ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Answer, Authority, Health, Kubelet, KubeletVersion, Plugin, PodSpec, call_with_authority},
    node::{Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const QAT: &str = "intel.com/qat";
const CONFIG: &str =
    "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}\n";
const DEVICES: [&str; 2] = ["0000:01:00.0", "0000:02:00.0"];
const PATHS: [Authority; 3] =
    [Authority::Path { huffman: true }, Authority::Path { huffman: false }, Authority::EscapedPath];
const TOLD: &str = "as kubelets before 1.26 do";

fn node() -> Node {
    let [first, second] = DEVICES;
    Node::builder()
        .pci(PciSpec::new(first, "8086:6F54").driver("vfio-pci").group(1))
        .pci(PciSpec::new(second, "8086:6F54").driver("vfio-pci").group(2))
        .build()
        .unwrap()
}

async fn kubelet(folder: &TempDir, authority: Authority) -> Kubelet {
    Kubelet::builder(folder.path()).version(KubeletVersion::V1_32).authority(authority).start().await.unwrap()
}

async fn all_allocatable(kubelet: &Kubelet) {
    let what = "both devices are allocatable";
    kubelet.wait_for(what, PATIENCE, |state| state.allocatable(QAT) == 2 && state.is_connected(QAT)).await.unwrap();
}

/// The socket on which the agent serves.
fn socket(kubelet: &Kubelet) -> PathBuf {
    let sockets = std::fs::read_dir(kubelet.plugin_dir()).unwrap().map(|entry| entry.unwrap().path());
    sockets.into_iter().find(|path| path.to_string_lossy().contains("/vfiod-")).unwrap()
}

#[tokio::test]
async fn an_older_kubelet_gets_devices_allocations_and_changes_like_any_other() {
    for authority in PATHS {
        let (node, folder) = (node(), TempDir::new().unwrap());
        let kubelet = kubelet(&folder, authority).await;
        let agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
        all_allocatable(&kubelet).await;
        for (pod, device) in [("a", DEVICES[0]), ("b", DEVICES[1])] {
            let pod = kubelet.admit(PodSpec::new("vms", pod).container("compute", [(QAT, 1)])).await.unwrap();
            kubelet.start_container(pod.uid(), "compute").await.unwrap();
            let envs = &pod.container("compute").unwrap().options.envs;
            assert_eq!(envs["PCI_RESOURCE_INTEL_COM_QAT"], device, "{authority:?}");
        }
        node.node_gone(1).unwrap();
        kubelet
            .wait_for("the missing node is told", PATIENCE, |state| {
                state.health(QAT, DEVICES[0]) == Some(Health::Unhealthy)
            })
            .await
            .unwrap();
        assert_eq!(agent.log().matches(TOLD).count(), 1, "{authority:?}: told once\n{}", agent.log());
    }
}

#[tokio::test]
async fn an_upgrade_of_the_kubelet_changes_nothing_and_a_newer_one_is_not_called_old() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let newer = kubelet(&folder, Authority::Localhost).await;
    let agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
    all_allocatable(&newer).await;
    assert!(!agent.log().contains(TOLD), "{}", agent.log());
    drop(newer);
    for authority in PATHS.into_iter().chain([Authority::Localhost]) {
        let next = kubelet(&folder, authority).await;
        all_allocatable(&next).await;
    }
    assert_eq!(agent.log().matches(TOLD).count(), 1, "{}", agent.log());
}

#[tokio::test]
async fn every_call_works_again_and_again_on_one_connection_whatever_the_authority() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = kubelet(&folder, Authority::Localhost).await;
    let _agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
    all_allocatable(&kubelet).await;
    let ids: Vec<String> = DEVICES.map(str::to_owned).to_vec();
    let socket = socket(&kubelet);
    // A stream that ends makes the agent register anew, on another socket: they stay open.
    let mut open = Vec::new();
    for authority in PATHS.into_iter().chain([Authority::Localhost]) {
        let plugin = Plugin::dial_with(&socket, authority, PATIENCE).await.unwrap();
        // From the second call on, the field comes from the dynamic table.
        let mut list = plugin.list_and_watch().await.unwrap();
        assert_eq!(list.message().await.unwrap().unwrap().devices.len(), 2);
        for _ in 0..50 {
            assert!(plugin.options().await.unwrap().pre_start_required);
            assert_eq!(plugin.preferred_allocation(ids.clone(), Vec::new(), 2).await.unwrap().len(), 2);
            assert_eq!(plugin.allocate(ids.iter().map(|id| vec![id.clone()])).await.unwrap().len(), 2);
        }
        open.push((plugin, list));
    }
}

#[tokio::test]
async fn fields_that_are_not_indexed_are_served_too() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = kubelet(&folder, Authority::Localhost).await;
    let _agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
    all_allocatable(&kubelet).await;
    let socket = socket(&kubelet);
    for authority in [socket.to_str().unwrap(), "/", "/a b/%", "localhost", "plugins/x.sock", "var%2Flib%2Fx.sock"] {
        let answer = call_with_authority(&socket, authority, PATIENCE).await.unwrap();
        assert_eq!(answer, Answer::Headers, "{authority}");
    }
}
