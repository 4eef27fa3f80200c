//! Discovery on a simulated node, through everything that can happen to its devices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use vfiod::discovery::{HostRoot, Reading, read_device, read_group, read_nodes, scan};
use vfiod_core::device::{Binding, DeviceId, Kind, Mdev};
use vfiod_simulator::node::{MdevFleet, MdevSpec, MdevType, Node, PciFleet, PciSpec, Sriov, VirtualParent};

const GPU: &str = "0000:3b:00.0";
const AUDIO: &str = "0000:3b:00.1";
const PF: &str = "0000:81:00.0";
const VMD: &str = "10000:01:00.0";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/// A node with a device of every kind.
fn node() -> Node {
    Node::builder()
        .vfio_cdevs()
        .pci(PciSpec::bridge("0000:3a:00.0").numa(0))
        .pci(PciSpec::new(GPU, "10DE:1EB8").behind("0000:3a:00.0").driver("vfio-pci").numa(1))
        .pci(PciSpec::new(AUDIO, "10DE:10F8").behind("0000:3a:00.0").class(0x04_0300).sharing_group_with(GPU))
        .pci(PciSpec::new(VMD, "8086:0B60").driver("vfio-pci"))
        .pci(
            PciSpec::new(PF, "10DE:2235")
                .driver("nvidia")
                .sriov(Sriov::new(4, 0x2236).enabled(2).vf_driver("nvidia").vf_vgpu_type(0)),
        )
        .pci(PciSpec::new("0000:82:00.0", "8086:6F54").driver("vfio-pci").without_iommu())
        .virtual_parent(VirtualParent::new("mtty", "mtty").mdev_type(MdevType::new("mtty-1", "Single port serial")))
        .mdev(MdevSpec::new(UUID, "mtty", "mtty-1"))
        .pci_fleet(&PciFleet::new("10DE:20B0", 40).driver("vfio-pci").numa_nodes(2).functions_per_group(2))
        .mdev_fleet(&MdevFleet::new(
            MdevType::new("nvidia-222", "GRID T4-1Q"),
            20,
            PciFleet::new("10DE:1EB9", 4).numa_nodes(2).first_domain(2),
        ))
        .build()
        .unwrap()
}

/// What discovery says of the whole node is what the node is, and a targeted read of each part says the same.
fn agrees(node: &Node) {
    let root = HostRoot::new(node.root());
    let scan = scan(&root);
    assert_eq!(scan.faults, []);
    assert!(scan.complete.pci && scan.complete.mdev);
    let found: Vec<String> = scan.devices.iter().map(|device| device.id.to_string()).collect();
    let mut expected = node.devices();
    expected.retain(|name| name.parse::<DeviceId>().is_ok());
    expected.sort_by_key(|name| name.parse::<DeviceId>().unwrap());
    assert_eq!(found, expected);
    for device in &scan.devices {
        let name = device.id.to_string();
        assert_eq!(device.group, node.group_of(&name), "{name}");
        assert_eq!(device.binding.driver().map(ToString::to_string), node.driver_of(&name), "{name}");
        assert_eq!(read_device(&root, device.id), Reading::Present(device.clone()));
        if let Some(group) = device.group {
            let members = &scan.groups[scan.groups.binary_search_by_key(&group, |group| group.id).unwrap()].members;
            assert!(members.iter().any(|member| member.name == name.as_str().into()), "{name} in {members:?}");
        }
    }
    for group in &scan.groups {
        assert_eq!(read_group(&root, group.id).as_ref(), Ok(&Some(group.clone())));
    }
    let nodes = scan.nodes.unwrap();
    assert_eq!(read_nodes(&root).as_ref(), Ok(&nodes));
    for group in &nodes.groups {
        assert!(node.path(&format!("dev/vfio/{group}")).exists());
    }
}

fn device(node: &Node, name: &str) -> Option<vfiod_core::device::Device> {
    match read_device(&HostRoot::new(node.root()), name.parse().unwrap()) {
        Reading::Present(device) => Some(device),
        Reading::Gone => None,
        Reading::Fault(fault) => panic!("{fault}"),
    }
}

#[test]
fn every_kind_of_device_is_read_as_the_node_has_it() {
    let node = node();
    agrees(&node);

    let gpu = device(&node, GPU).unwrap();
    assert_eq!((gpu.binding, gpu.numa, gpu.cdevs.len()), (Binding::Vfio("vfio-pci".into()), Some(1), 1));
    let vf = device(&node, "0000:81:00.4").unwrap();
    let Kind::Pci { physfn, .. } = vf.kind else { panic!("not a PCI function") };
    assert_eq!((physfn, vf.binding), (Some(PF.parse().unwrap()), Binding::Host("nvidia".into())));
    let mdev = device(&node, UUID).unwrap();
    let Kind::Mdev(facts) = mdev.kind else { panic!("not an mdev") };
    let Mdev { type_name, type_id, parent } = *facts;
    assert_eq!((&*type_name, &*type_id, &*parent), ("Single port serial", "mtty-1", "mtty"));
    assert!(mdev.binding.is_vfio());
    let bare = device(&node, "0000:82:00.0").unwrap();
    let root = HostRoot::new(node.root());
    assert!(read_group(&root, bare.group.unwrap()).unwrap().unwrap().noiommu);
    assert!(read_nodes(&root).unwrap().noiommu.contains(&bare.group.unwrap()));
}

#[test]
fn an_mdev_is_on_the_numa_node_of_its_parent() {
    let node = node();
    let scan = scan(&HostRoot::new(node.root()));
    let mut on_nodes = [0, 0];
    for device in &scan.devices {
        let Kind::Mdev(facts) = &device.kind else { continue };
        let parent = &facts.parent;
        let Ok(parent) = parent.parse::<DeviceId>() else { continue };
        assert_eq!(device.numa, scan.device(parent).unwrap().numa);
        on_nodes[device.numa.unwrap() as usize] += 1;
    }
    assert_eq!(on_nodes, [10, 10]);
}

#[test]
fn what_changes_on_the_node_is_read_the_next_time() {
    let node = node();
    node.unbind(GPU).unwrap();
    assert_eq!(device(&node, GPU).unwrap().binding, Binding::Unbound);
    agrees(&node);
    node.bind(GPU, "vfio-pci").unwrap();
    node.bind(AUDIO, "snd_hda_intel").unwrap();
    let group = device(&node, GPU).unwrap().group.unwrap();
    let group = read_group(&HostRoot::new(node.root()), group).unwrap().unwrap();
    assert_eq!(group.obstacle().unwrap().member, AUDIO);
    agrees(&node);

    node.unplug(VMD).unwrap();
    assert_eq!(device(&node, VMD), None);
    node.plug(PciSpec::new(VMD, "8086:0B60").driver("vfio-pci")).unwrap();
    assert!(device(&node, VMD).is_some());

    node.remove_mdev(UUID).unwrap();
    assert_eq!(device(&node, UUID), None);
    node.create_mdev(MdevSpec::new(UUID, "mtty", "mtty-1")).unwrap();
    assert!(device(&node, UUID).unwrap().binding.is_vfio());

    node.set_vgpu_type("0000:81:00.4", 1428).unwrap();
    assert_eq!(device(&node, "0000:81:00.4").unwrap().binding, Binding::Vfio("nvidia".into()));
    node.set_numvfs(PF, 0).unwrap();
    assert_eq!(device(&node, "0000:81:00.4"), None);
    agrees(&node);
}
