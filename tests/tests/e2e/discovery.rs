//! What counts as a device, and what the kubelet is told of it.

use crate::scene::*;
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, PodSpec},
    node::{Injection, Kernel, MdevSpec, MdevType, Node, PciSpec, Sriov, VirtualParent},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const UUIDS: [&str; 4] = [
    "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
    "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002",
    "83b8f4f2-509f-382f-3c1e-e6bfe0fa1003",
    "83b8f4f2-509f-382f-3c1e-e6bfe0fa1004",
];

/// A kubelet that sees what vfiod finds on this node.
async fn kubelet_of(node: &Node, config: &str) -> (Kubelet, Agent, TempDir) {
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let agent = Agent::builder(node.root(), folder.path(), config).start().unwrap();
    (kubelet, agent, folder)
}

#[tokio::test]
async fn variant_drivers_and_vgpu_functions_count_and_host_drivers_do_not() {
    let on = |bdf: &str, driver: &str| PciSpec::new(bdf, QAT_ID).driver(driver);
    let node = Node::builder()
        .pci(on("0000:01:00.0", "vfio-pci"))
        .pci(on("0000:02:00.0", "mlx5_vfio_pci"))
        .pci(on("0000:03:00.0", "nvgrace_gpu_vfio_pci"))
        .pci(on("0000:04:00.0", "4xxx"))
        .pci(on("0000:05:00.0", "pci-stub"))
        .pci(PciSpec::new("0000:06:00.0", QAT_ID))
        .pci(PciSpec::new("0000:07:00.0", "8086:6F55").driver("vfio-pci"))
        .build()
        .unwrap();
    // The selector's case does not count.
    let (kubelet, _agent, _folder) = kubelet_of(&node, &pci_config(&[("8086:6f54", QAT)])).await;
    kubelet.wait_for("three devices", PATIENCE, |state| state.capacity(QAT) > 0).await.unwrap();
    let expected = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"];
    assert_eq!(kubelet.look(|state| ids(state, QAT, Health::Healthy)), expected);
    assert_eq!(kubelet.capacity(QAT), 3);
}

#[tokio::test]
async fn virtual_functions_come_and_go_and_nvidias_count_by_their_vgpu_type() {
    let network = private_network();
    let node = Node::builder()
        .pci(
            PciSpec::new("0000:41:00.0", "8086:4940")
                .driver("4xxx")
                .sriov(Sriov::new(8, 0x4941).enabled(2).vf_driver("vfio-pci")),
        )
        .pci(
            PciSpec::new("0000:81:00.0", "10DE:2235")
                .driver("nvidia")
                .sriov(Sriov::new(4, 0x2236).enabled(4).vf_driver("nvidia").vf_vgpu_type(0)),
        )
        .build()
        .unwrap();
    let config = pci_config(&[("8086:4941", "intel.com/vf"), ("10DE:2236", "nvidia.com/vgpu")]);
    let (kubelet, _agent, _folder) = kubelet_of(&node, &config).await;
    kubelet.wait_for("two virtual functions", PATIENCE, |state| state.allocatable("intel.com/vf") == 2).await.unwrap();
    assert_eq!(kubelet.capacity("nvidia.com/vgpu"), 0, "a function without a vGPU type is none");
    if !network {
        return;
    }
    node.set_numvfs("0000:41:00.0", 0).unwrap();
    kubelet.wait_for("they are gone", PATIENCE, |state| state.capacity("intel.com/vf") == 0).await.unwrap();
    node.set_numvfs("0000:41:00.0", 8).unwrap();
    kubelet.wait_for("eight", PATIENCE, |state| state.allocatable("intel.com/vf") == 8).await.unwrap();

    let functions: Vec<String> =
        node.devices().into_iter().filter(|id| id.starts_with("0000:81:00.") && !id.ends_with(".0")).collect();
    node.set_vgpu_type(&functions[1], 558).unwrap();
    kubelet
        .wait_for("one function is a vGPU", PATIENCE, |state| {
            ids(state, "nvidia.com/vgpu", Health::Healthy) == functions[1..2]
        })
        .await
        .unwrap();
    node.set_vgpu_type(&functions[1], 0).unwrap();
    kubelet.wait_for("it is none again", PATIENCE, |state| state.allocatable("nvidia.com/vgpu") == 0).await.unwrap();
}

#[tokio::test]
async fn mdevs_are_found_by_the_name_of_their_type_or_by_its_folder() {
    let config = "
permittedHostDevices:
  mediatedDevices:
  - {mdevNameSelector: '  GRID T4-1Q ', resourceName: nvidia.com/GRID_T4-1Q}
  - {mdevNameSelector: i915-GVTg_V5_4, resourceName: intel.com/GVT}
  - {mdevNameSelector: Single_port_serial, resourceName: linux.org/mtty}
  - {mdevNameSelector: grid t4-1q, resourceName: nvidia.com/wrong-case}
";
    let node = Node::builder()
        .pci(
            PciSpec::new("0000:d8:00.0", "10DE:1EB8")
                .driver("nvidia")
                .numa(1)
                .mdev_type(MdevType::new("nvidia-222", "GRID T4-1Q")),
        )
        .pci(PciSpec::new("0000:00:02.0", "8086:591D").driver("i915").mdev_type(MdevType::nameless("i915-GVTg_V5_4")))
        .virtual_parent(VirtualParent::new("mtty", "mtty").mdev_type(MdevType::new("mtty-1", "Single port serial")))
        .mdev(MdevSpec::new(UUIDS[0], "0000:d8:00.0", "nvidia-222"))
        .mdev(MdevSpec::new(UUIDS[1], "0000:00:02.0", "i915-GVTg_V5_4"))
        .mdev(MdevSpec::new(UUIDS[2], "mtty", "mtty-1").driver("mtty"))
        .build()
        .unwrap();
    let (kubelet, _agent, _folder) = kubelet_of(&node, config).await;
    kubelet
        .wait_for("one of each", PATIENCE, |state| {
            ["nvidia.com/GRID_T4-1Q", "intel.com/GVT", "linux.org/mtty"].iter().all(|name| state.allocatable(name) == 1)
        })
        .await
        .unwrap();
    assert_eq!(kubelet.capacity("nvidia.com/wrong-case"), 0, "the case of an mdev's name counts");
    assert_eq!(kubelet.devices("nvidia.com/GRID_T4-1Q")[UUIDS[0]].numa, [1], "an mdev is where its parent is");
    assert!(kubelet.devices("intel.com/GVT")[UUIDS[1]].numa.is_empty());
}

#[tokio::test]
async fn a_device_without_a_numa_node_has_no_topology_and_long_domains_are_kept() {
    let node = Node::builder()
        .pci(qat("0000:01:00.0", 1))
        .pci(qat("0000:02:00.0", 2).numa(0))
        .pci(qat("10000:e1:00.0", 3).numa(3))
        .build()
        .unwrap();
    let (kubelet, _agent, _folder) = kubelet_of(&node, &usual_config()).await;
    kubelet.wait_for("three devices", PATIENCE, |state| state.allocatable(QAT) == 3).await.unwrap();
    let devices = kubelet.devices(QAT);
    assert!(devices["0000:01:00.0"].numa.is_empty(), "node -1 is no node, and not node 0");
    assert_eq!(devices["0000:02:00.0"].numa, [0]);
    assert_eq!(devices["10000:e1:00.0"].numa, [3]);
}

#[tokio::test]
async fn devices_without_an_iommu_are_refused_unless_the_configuration_allows_them() {
    let node =
        Node::builder().pci(PciSpec::new("0000:01:00.0", QAT_ID).driver("vfio-pci").without_iommu()).build().unwrap();
    let (kubelet, agent, _folder) = kubelet_of(&node, &usual_config()).await;
    kubelet
        .wait_for("it is listed and Unhealthy", PATIENCE, |state| {
            state.health(QAT, "0000:01:00.0") == Some(Health::Unhealthy)
        })
        .await
        .unwrap();
    agent.wait_for_log("allowNoIommu").unwrap();
    agent.configure(&format!("allowNoIommu: true\n{}", usual_config())).unwrap();
    kubelet.wait_for("it is allowed", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();
    let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
    let group = node.group_of("0000:01:00.0").unwrap();
    assert_eq!(paths(&pod, "compute"), ["/dev/vfio/vfio".to_owned(), format!("/dev/vfio/noiommu-{group}")]);
}

#[tokio::test]
async fn character_devices_are_given_where_they_exist_and_only_there() {
    let build = |kernel, cdevs: bool| {
        let builder = Node::builder().kernel(kernel).pci(qat("0000:01:00.0", 7)).pci(qat("0000:02:00.0", 8));
        if cdevs { builder.vfio_cdevs().build().unwrap() } else { builder.build().unwrap() }
    };
    let with = ["/dev/vfio/vfio", "/dev/vfio/7", "/dev/vfio/devices/vfio0"];
    for (node, expected) in [
        (build(Kernel::V5_15, false), &with[..2]),
        (build(Kernel::V6_1, false), &with[..2]),
        (build(Kernel::V6_12, true), &with[..]),
    ] {
        let (kubelet, _agent, _folder) = kubelet_of(&node, &usual_config()).await;
        kubelet.wait_for("two devices", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        let pod = kubelet.admit(PodSpec::new("vms", "a").container("compute", [(QAT, 1)])).await.unwrap();
        assert_eq!(paths(&pod, "compute"), expected);
        let both = kubelet.admit(PodSpec::new("vms", "b").container("compute", [(QAT, 1)])).await.unwrap();
        assert!(!paths(&both, "compute").contains(&"/dev/vfio/7".to_owned()), "nodes of others are not given");
    }
}

#[tokio::test]
async fn changes_reach_the_kubelet_by_events_at_once_and_without_events_by_the_rescan() {
    for events in [true, false] {
        if events && !private_network() {
            continue;
        }
        let injection = if events { Injection::InPrivateNetwork } else { Injection::Never };
        let node = Node::builder()
            .injection(injection)
            .pci(qat("0000:3b:00.0", 11))
            .pci(qat("0000:3c:00.0", 12))
            .build()
            .unwrap();
        let folder = TempDir::new().unwrap();
        let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
        let rescan = if events { "1h" } else { "150ms" };
        let _agent =
            Agent::builder(node.root(), folder.path(), &usual_config()).flag("--rescan", rescan).start().unwrap();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        node.unbind("0000:3b:00.0").unwrap();
        kubelet
            .wait_for("unbound is Unhealthy", PATIENCE, |state| {
                state.health(QAT, "0000:3b:00.0") == Some(Health::Unhealthy)
            })
            .await
            .unwrap();
        node.bind("0000:3b:00.0", "4xxx").unwrap();
        node.unbind("0000:3b:00.0").unwrap();
        node.bind("0000:3b:00.0", "vfio-pci").unwrap();
        kubelet.wait_for("bound again", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        node.unplug("0000:3b:00.0").unwrap();
        kubelet.wait_for("unplugged", PATIENCE, |state| state.capacity(QAT) == 1).await.unwrap();
        node.plug(qat("0000:5e:00.0", 77).numa(1)).unwrap();
        kubelet.wait_for("plugged", PATIENCE, |state| state.health(QAT, "0000:5e:00.0").is_some()).await.unwrap();
    }
}

#[tokio::test]
async fn mdevs_that_are_made_and_removed_are_noticed() {
    if !private_network() {
        return;
    }
    let config =
        "permittedHostDevices: {mediatedDevices: [{mdevNameSelector: GRID T4-1Q, resourceName: nvidia.com/vgpu}]}";
    let node = Node::builder()
        .pci(
            PciSpec::new("0000:d8:00.0", "10DE:1EB8")
                .driver("nvidia")
                .mdev_type(MdevType::new("nvidia-222", "GRID T4-1Q")),
        )
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), config).flag("--rescan", "1h").start().unwrap();
    kubelet
        .wait_for("an empty resource", PATIENCE, |state| state.listings("nvidia.com/vgpu").len() == 1)
        .await
        .unwrap();
    for uuid in UUIDS {
        node.create_mdev(MdevSpec::new(uuid, "0000:d8:00.0", "nvidia-222")).unwrap();
    }
    kubelet.wait_for("four vGPUs", PATIENCE, |state| state.allocatable("nvidia.com/vgpu") == 4).await.unwrap();
    node.remove_mdev(UUIDS[2]).unwrap();
    kubelet.wait_for("three vGPUs", PATIENCE, |state| state.capacity("nvidia.com/vgpu") == 3).await.unwrap();
    node.unbind("0000:d8:00.0").unwrap();
    kubelet
        .wait_for("none without the parent's driver", PATIENCE, |state| state.capacity("nvidia.com/vgpu") == 0)
        .await
        .unwrap();
}
