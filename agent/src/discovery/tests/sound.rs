//! What is read of trees that are whole.

use super::tree::{Tree, home};
use crate::discovery::{HostRoot, Reading, read_device, read_nodes, scan};
use vfiod_core::device::{Binding, Kind, Mdev};

const T4: &str = "0000:3b:00.0";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

#[test]
fn a_function_is_read_with_all_its_facts() {
    let device = Tree::new().t4(T4, "12").file(&format!("{}/numa_node", home(T4)), "1\n").device(T4);
    assert_eq!(device.binding, Binding::Vfio("vfio-pci".into()));
    assert_eq!((device.group, device.numa), (Some(12), Some(1)));
    let Kind::Pci { pci_id, class, physfn } = device.kind else { panic!("not a PCI function") };
    assert_eq!((pci_id.to_string().as_str(), class, physfn), ("10de:1eb8", 0x03_0200, None));
}

#[test]
fn minus_one_and_no_file_are_no_numa_node() {
    assert_eq!(Tree::new().t4(T4, "1").device(T4).numa, None);
    assert_eq!(Tree::new().t4(T4, "1").without(&format!("{}/numa_node", home(T4))).device(T4).numa, None);
}

#[test]
fn a_device_may_be_a_folder_in_the_list_itself() {
    let own = format!("sys/bus/pci/devices/{T4}");
    let tree = Tree::new()
        .file(&format!("{own}/uevent"), "PCI_ID=10DE:1EB8\n")
        .link(&format!("{own}/driver"), "/sys/bus/pci/drivers/vfio-pci")
        .link(&format!("{own}/iommu_group"), "/sys/kernel/iommu_groups/7");
    let device = tree.device(T4);
    assert_eq!((device.binding, device.group), (Binding::Vfio("vfio-pci".into()), Some(7)));
}

#[test]
fn a_domain_of_five_digits_is_a_device_like_any_other() {
    assert!(Tree::new().t4("10000:e1:00.0", "3").device("10000:e1:00.0").binding.is_vfio());
}

#[test]
fn drivers_of_the_host_are_told_from_vfio() {
    let none = Tree::new().pci(T4, "10DE:1EB8").device(T4);
    assert_eq!(none.binding, Binding::Unbound);
    let host = Tree::new().pci(T4, "10DE:1EB8").driver(T4, "nvidia").device(T4);
    assert_eq!(host.binding, Binding::Host("nvidia".into()));
    let variant = Tree::new().pci(T4, "10DE:2342").driver(T4, "nvgrace_gpu_vfio_pci").device(T4);
    assert!(variant.binding.is_vfio());
}

#[test]
fn whoever_is_registered_with_vfio_is_bound_to_it_whatever_its_driver_is_called() {
    let own = home(T4);
    let device = Tree::new()
        .pci(T4, "10DE:1EB8")
        .driver(T4, "qat_vf")
        .folder(&format!("{own}/vfio-dev/vfio3"))
        .folder(&format!("{own}/vfio-dev/vfio12"))
        .device(T4);
    assert_eq!(device.binding, Binding::Vfio("qat_vf".into()));
    assert_eq!(device.cdevs[..], ["vfio3".into(), "vfio12".into()]);
}

#[test]
fn an_sriov_vgpu_counts_once_it_has_a_type() {
    let vgpu = |text: &str| {
        Tree::new()
            .pci(T4, "10DE:2235")
            .driver(T4, "nvidia")
            .link(&format!("{}/physfn", home(T4)), "../0000:3a:00.0")
            .file(&format!("{}/nvidia/current_vgpu_type", home(T4)), text)
            .device(T4)
    };
    assert_eq!(vgpu("1428\n").binding, Binding::Vfio("nvidia".into()));
    assert_eq!(vgpu("0\n").binding, Binding::Host("nvidia".into()));
    let Kind::Pci { physfn, .. } = vgpu("0\n").kind else { panic!("not a PCI function") };
    assert_eq!(physfn, Some("0000:3a:00.0".parse().unwrap()));
}

#[test]
fn the_physical_function_itself_is_no_vgpu() {
    let device = Tree::new()
        .pci(T4, "10DE:2235")
        .driver(T4, "nvidia")
        .file(&format!("{}/nvidia/current_vgpu_type", home(T4)), "1428\n")
        .device(T4);
    assert_eq!(device.binding, Binding::Host("nvidia".into()));
}

#[test]
fn an_mdev_is_read_with_its_type_parent_and_the_node_of_its_parent() {
    let own = format!("{}/{UUID}", home(T4));
    let tree = Tree::new()
        .pci(T4, "10DE:1EB8")
        .file(&format!("{}/numa_node", home(T4)), "1\n")
        .mdev(UUID, T4, "nvidia-222")
        .file(&format!("{}/mdev_supported_types/nvidia-222/name", home(T4)), "GRID T4-1Q\n")
        .link(&format!("{own}/iommu_group"), "../../../../kernel/iommu_groups/40");
    let device = tree.device(UUID);
    assert_eq!(
        device.kind,
        Kind::Mdev(Box::new(Mdev { type_name: "GRID T4-1Q".into(), type_id: "nvidia-222".into(), parent: T4.into() }))
    );
    assert_eq!((device.binding, device.group, device.numa), (Binding::Vfio("".into()), Some(40), Some(1)));
}

#[test]
fn a_type_without_a_name_is_called_by_its_folder() {
    let device = Tree::new().pci(T4, "10DE:1EB8").mdev(UUID, T4, "i915-GVTg_V5_4").device(UUID);
    let Kind::Mdev(facts) = device.kind else { panic!("not an mdev") };
    let type_name = facts.type_name;
    assert_eq!((&*type_name, device.binding), ("i915-GVTg_V5_4", Binding::Unbound));
}

#[test]
fn a_host_without_mdevs_groups_or_vfio_nodes_is_complete() {
    let scan = Tree::new().pci(T4, "10DE:1EB8").without("sys/kernel/iommu_groups").scan();
    assert_eq!(scan.faults, []);
    assert!(scan.complete.pci && scan.complete.mdev);
    assert_eq!((scan.devices.len(), scan.groups.len()), (1, 0));
    assert_eq!(scan.nodes, Some(Default::default()));
}

#[test]
fn a_host_without_a_pci_bus_is_complete() {
    let scan = Tree::new().without("sys/bus/pci").scan();
    assert!(scan.complete.pci, "{:?}", scan.faults);
}

#[test]
fn nodes_are_known_by_their_names() {
    let tree = Tree::new()
        .file("dev/vfio/vfio", "")
        .file("dev/vfio/12", "")
        .file("dev/vfio/3", "")
        .file("dev/vfio/noiommu-5", "")
        .file("dev/vfio/devices/vfio0", "");
    let nodes = read_nodes(&tree.root).unwrap();
    assert!(nodes.container && nodes.groups.contains(&3) && nodes.groups.contains(&12) && nodes.noiommu.contains(&5));
    assert!(
        nodes.cdevs.contains(&"vfio0".into()) && !nodes.cdevs.contains(&"vfio1".into()) && !nodes.groups.contains(&5)
    );
}

#[test]
fn a_device_that_the_host_does_not_have_is_gone() {
    let tree = Tree::new();
    for id in [T4, UUID] {
        assert_eq!(read_device(&tree.root, super::tree::id_of(id)), Reading::Gone);
    }
}

#[test]
fn the_host_that_runs_this_test_is_read_without_a_fault_in_its_lists() {
    let root = HostRoot::default();
    let scan = scan(&root);
    if !root.at("/sys/bus").exists() {
        println!("skipped: no /sys here");
        return;
    }
    assert!(scan.complete.pci && scan.complete.mdev, "{:?}", scan.faults);
    let listed = std::fs::read_dir(root.at("/sys/bus/pci/devices")).map_or(0, |names| names.count());
    assert_eq!(scan.devices.iter().filter(|device| !device.id.is_mdev()).count(), listed, "{:?}", scan.faults);
}

#[test]
fn a_function_is_known_without_its_uevent_which_may_hang() {
    let own = home(T4);
    let device = Tree::new()
        .t4(T4, "12")
        .file(&format!("{own}/vendor"), "0x10de\n")
        .file(&format!("{own}/device"), "0x2342\n")
        .file(&format!("{own}/class"), "0x030200\n")
        .file(&format!("{own}/uevent"), "")
        .device(T4);
    let Kind::Pci { pci_id, class, .. } = device.kind else { panic!("not a PCI function") };
    assert_eq!((pci_id.to_string().as_str(), class), ("10de:2342", 0x03_0200));
}

#[test]
fn a_function_is_known_by_its_modalias_alone() {
    let alias = "pci:v000010DEd00002342sv000010DEsd000016C1bc03sc02i00\n";
    let device = Tree::new().t4(T4, "12").file(&format!("{}/modalias", home(T4)), alias).device(T4);
    let Kind::Pci { pci_id, class, .. } = device.kind else { panic!("not a PCI function") };
    assert_eq!((pci_id.to_string().as_str(), class), ("10de:2342", 0x03_0200));
}

/// The class of all that is registered with VFIO, as kernels from 6.1 on have it.
fn in_class(tree: Tree, bdf: &str, cdev: &str) -> Tree {
    tree.link(&format!("sys/class/vfio-dev/{cdev}"), &format!("../../devices/pci0000:00/{bdf}/vfio-dev/{cdev}"))
        .folder(&format!("{}/vfio-dev/{cdev}", home(bdf)))
}

#[test]
fn character_devices_are_found_through_their_class() {
    let tree = in_class(Tree::new().t4(T4, "12"), T4, "vfio7");
    assert_eq!(tree.device(T4).cdevs[..], ["vfio7".into()]);
}

#[test]
fn where_the_class_and_the_driver_disagree_the_device_itself_is_asked() {
    let bound_since =
        Tree::new().t4(T4, "12").folder("sys/class/vfio-dev").folder(&format!("{}/vfio-dev/vfio7", home(T4)));
    assert_eq!(bound_since.device(T4).cdevs[..], ["vfio7".into()]);
    let gone_since = in_class(Tree::new().pci(T4, "10DE:1EB8").driver(T4, "nvidia"), T4, "vfio7");
    let device = gone_since.without(&format!("{}/vfio-dev", home(T4))).device(T4);
    assert_eq!((device.cdevs.len(), device.binding), (0, Binding::Host("nvidia".into())));
    let of_another_driver = in_class(Tree::new().pci(T4, "10DE:1EB8").driver(T4, "qat_vf"), T4, "vfio7");
    assert_eq!(of_another_driver.device(T4).binding, Binding::Vfio("qat_vf".into()));
}

#[test]
fn a_class_that_is_not_understood_is_not_believed() {
    let tree = in_class(Tree::new().t4(T4, "12"), T4, "vfio7").link("sys/class/vfio-dev/vfio8", "../elsewhere");
    assert_eq!(tree.device(T4).cdevs[..], ["vfio7".into()]);
}

#[test]
fn a_vendor_that_is_no_number_is_a_fault_and_not_another_vendor() {
    for text in ["10de\n", "0x110de\n", "0x+1de", "", "garbage"] {
        let tree = Tree::new().t4(T4, "12").file(&format!("{}/vendor", home(T4)), text);
        let scan = tree.scan();
        assert!(scan.devices.is_empty() && !scan.faults.is_empty(), "{text:?}");
    }
}
