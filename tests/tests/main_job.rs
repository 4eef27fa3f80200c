//! The main job, end to end: the seed's configuration, a simulated node, a simulated kubelet, the real binary.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, PodSpec},
    node::{MdevSpec, MdevType, Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const T4: &str = "nvidia.com/TU104GL_Tesla_T4";
const QAT: &str = "intel.com/qat";
const VGPU: &str = "nvidia.com/GRID_T4-1Q";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

const SEED: &str = r#"
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

/// Two T4s (one on NUMA node 1), a QAT without NUMA, and a T4 that carves out vGPUs.
fn node() -> Node {
    Node::builder()
        .pci(PciSpec::new("0000:3b:00.0", "10DE:1EB8").driver("vfio-pci").numa(0).group(12))
        .pci(PciSpec::new("0000:af:00.0", "10DE:1EB8").driver("vfio-pci").numa(1).group(40))
        .pci(PciSpec::new("10000:e1:00.0", "8086:6F54").driver("vfio-pci").group(41))
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

#[tokio::test]
async fn the_seeds_devices_become_capacity_and_containers_get_their_variables_and_nodes() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), SEED).start().unwrap();
    kubelet
        .wait_for("all three resources have their capacity", PATIENCE, |state| {
            state.capacity(T4) == 2 && state.capacity(QAT) == 1 && state.capacity(VGPU) == 1
        })
        .await
        .unwrap();

    let spec = PodSpec::new("vms", "virt-launcher-a").container("compute", [(T4, 2), (QAT, 1), (VGPU, 1)]);
    let pod = kubelet.admit(spec).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    let options = &pod.container("compute").unwrap().options;
    let variable = |name: &str| options.envs.get(name).map(String::as_str);
    assert_eq!(variable("PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4"), Some("0000:3b:00.0,0000:af:00.0"));
    assert_eq!(variable("PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4"), Some("0000:3b:00.0,0000:af:00.0"));
    assert_eq!(variable("PCI_RESOURCE_INTEL_COM_QAT"), Some("10000:e1:00.0"));
    assert_eq!(variable("MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q"), Some(UUID));
    let group = node.group_of(UUID).unwrap();
    let mut paths: Vec<&str> = options.devices.iter().map(|spec| spec.host_path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut expected = vec!["/dev/vfio/12", "/dev/vfio/40", "/dev/vfio/41", "/dev/vfio/vfio"];
    let mdev = format!("/dev/vfio/{group}");
    expected.push(&mdev);
    expected.sort_unstable();
    assert_eq!(paths, expected);
    assert!(options.devices.iter().all(|spec| spec.permissions == "mrw" && spec.container_path == spec.host_path));
}

#[tokio::test]
async fn a_node_that_goes_and_comes_back_is_told_at_once() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), SEED).start().unwrap();
    kubelet.wait_for("two T4s", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
    node.node_gone(12).unwrap();
    kubelet
        .wait_for("the T4 without its node is Unhealthy", PATIENCE, |state| {
            state.health(T4, "0000:3b:00.0") == Some(Health::Unhealthy) && state.capacity(T4) == 2
        })
        .await
        .unwrap();
    node.node_back(12).unwrap();
    kubelet.wait_for("both are Healthy again", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
}

#[tokio::test]
async fn unbind_bind_unplug_and_plug_reach_the_kubelet_without_a_restart() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), SEED).flag("--rescan", "1s").start().unwrap();
    kubelet.wait_for("two T4s", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
    node.unbind("0000:3b:00.0").unwrap();
    kubelet
        .wait_for("one is Unhealthy", PATIENCE, |state| state.allocatable(T4) == 1 && state.capacity(T4) == 2)
        .await
        .unwrap();
    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    kubelet.wait_for("it is Healthy again", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
    node.unplug("0000:af:00.0").unwrap();
    kubelet.wait_for("a removed device is dropped", PATIENCE, |state| state.capacity(T4) == 1).await.unwrap();
    node.plug(PciSpec::new("0000:b0:00.0", "10DE:1EB8").driver("vfio-pci").group(77)).unwrap();
    kubelet.wait_for("a new device is listed", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
    node.remove_mdev(UUID).unwrap();
    kubelet.wait_for("the vGPU is gone", PATIENCE, |state| state.capacity(VGPU) == 0).await.unwrap();
}

#[tokio::test]
async fn twenty_kubelet_restarts_leave_the_capacity_as_it_was() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), SEED).start().unwrap();
    for restart in 0..20 {
        let what = format!("all resources are back after {restart} restarts");
        kubelet
            .wait_for(&what, PATIENCE, |state| {
                [T4, QAT, VGPU].iter().all(|name| state.is_connected(name)) && state.allocatable(T4) == 2
            })
            .await
            .unwrap();
        kubelet.restart().await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_starts_before_the_kubelet_waits_for_it_and_one_that_stops_zeroes_nothing() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let mut agent = Agent::builder(node.root(), &folder.path().join("kubelet"), SEED).start().unwrap();
    agent.wait_for_log("waiting for the kubelet").unwrap();
    let kubelet = Kubelet::builder(folder.path().join("kubelet")).start().await.unwrap();
    kubelet.wait_for("two T4s", PATIENCE, |state| state.allocatable(T4) == 2).await.unwrap();
    assert!(agent.terminate().unwrap().success());
    kubelet.wait_for("the stream has ended", PATIENCE, |state| !state.is_connected(T4)).await.unwrap();
    assert_eq!((kubelet.capacity(T4), kubelet.allocatable(T4)), (2, 0), "a stopping agent sends no empty list");
    assert!(kubelet.watch(T4).iter().all(|list| list.healthy + list.unhealthy > 0));
}
