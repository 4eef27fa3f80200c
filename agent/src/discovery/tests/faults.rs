//! Damage: each device is survived for itself, and no failure looks like absence.

use super::tree::{Tree, home, id_of};
use crate::discovery::{Cause, Consequence, Fault, Reading, Scan, read_device, read_nodes};
use vfiod_core::device::Binding;

const SOUND: &str = "0000:3b:00.0";
const BROKEN: &str = "0000:af:00.0";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/// Scans a tree in which one device is broken: the sound one is there, and there is one fault.
fn only_fault(tree: &Tree) -> (Scan, Fault) {
    let scan = tree.scan();
    assert!(scan.device(id_of(SOUND)).is_some_and(|device| device.binding.is_vfio()), "{scan:?}");
    assert!(scan.complete.pci && scan.complete.mdev);
    let [fault] = scan.faults.as_slice() else { panic!("one fault was expected: {:?}", scan.faults) };
    let fault = fault.clone();
    (scan, fault)
}

/// The broken device is left out, named by the fault, and not taken for removed.
fn left_out(tree: &Tree) -> Fault {
    let (scan, fault) = only_fault(tree);
    let id = id_of(BROKEN);
    assert_eq!((scan.device(id), fault.device, fault.consequence), (None, Some(id), Consequence::DeviceLeftOut));
    assert!(!scan.proves_gone(id));
    assert_eq!(read_device(&tree.root, id), Reading::Fault(fault.clone()));
    fault
}

fn two() -> Tree {
    Tree::new().t4(SOUND, "1").pci(BROKEN, "8086:6F54")
}

#[test]
fn a_uevent_without_an_id_leaves_its_device_out() {
    let uevent = format!("{}/uevent", home(BROKEN));
    for text in [&b""[..], b"\xff\xfe\x00garbage", b"PCI_ID=8086\n", b"DRIVER=vfio-pci\n"] {
        let fault = left_out(&two().file(&uevent, text));
        assert_eq!(fault.path.to_str(), Some("/sys/bus/pci/devices/0000:af:00.0/uevent"));
    }
}

#[test]
fn a_uevent_that_is_missing_or_a_folder_leaves_its_device_out() {
    let uevent = format!("{}/uevent", home(BROKEN));
    left_out(&two().without(&uevent));
    left_out(&two().without(&uevent).folder(&uevent));
}

#[test]
fn a_huge_uevent_is_read_as_far_as_the_kernel_ever_writes() {
    let uevent = format!("{}/uevent", home(BROKEN));
    left_out(&two().file(&uevent, "X".repeat(1 << 20) + "\nPCI_ID=8086:6F54\n"));
    let tree = two().file(&uevent, "PCI_ID=8086:6F54\n".to_owned() + &"X".repeat(1 << 20));
    assert_eq!(tree.device(BROKEN).binding, Binding::Unbound);
}

#[test]
fn a_device_link_that_leads_nowhere_or_in_circles_is_a_fault() {
    let link = format!("sys/bus/pci/devices/{BROKEN}");
    assert_eq!(left_out(&two().without(&link).link(&link, "../../../devices/nowhere")).cause, Cause::BrokenLink);
    left_out(&two().without(&link).link(&link, BROKEN));
    left_out(&two().without(&link).file(&link, "a file"));
}

#[test]
fn a_driver_that_is_no_link_leaves_its_device_out() {
    left_out(&two().file(&format!("{}/driver", home(BROKEN)), "vfio-pci"));
}

#[test]
fn a_group_that_is_no_number_leaves_its_device_out() {
    left_out(&two().link(&format!("{}/iommu_group", home(BROKEN)), "../../../kernel/iommu_groups/twelve"));
}

#[test]
fn damage_that_does_no_harm_leaves_the_device_usable() {
    for (file, text, consequence) in [
        ("numa_node", "one\n", Consequence::WithoutNuma),
        ("numa_node", "99999999999\n", Consequence::WithoutNuma),
        ("vfio-dev", "a file", Consequence::WithoutCdevs),
        ("physfn", "a file", Consequence::WithoutPhysfn),
    ] {
        let (scan, fault) = only_fault(&two().file(&format!("{}/{file}", home(BROKEN)), text));
        assert_eq!(fault.consequence, consequence, "{file}");
        let device = scan.device(id_of(BROKEN)).unwrap();
        assert_eq!((device.numa, device.cdevs.len()), (None, 0));
    }
}

#[test]
fn a_vgpu_type_that_is_no_number_makes_no_vgpu() {
    let own = home(BROKEN);
    let tree = two()
        .driver(BROKEN, "nvidia")
        .link(&format!("{own}/physfn"), "../0000:ae:00.0")
        .file(&format!("{own}/nvidia/current_vgpu_type"), "none");
    let (scan, fault) = only_fault(&tree);
    assert_eq!(fault.consequence, Consequence::NotVgpu);
    assert_eq!(scan.device(id_of(BROKEN)).unwrap().binding, Binding::Host("nvidia".into()));
}

#[test]
fn an_mdev_without_a_type_is_left_out_alone() {
    let tree = two().mdev(UUID, SOUND, "nvidia-222").without(&format!("{}/{UUID}/mdev_type", home(SOUND)));
    let (scan, fault) = only_fault(&tree);
    assert_eq!((fault.device, scan.devices.len()), (Some(id_of(UUID)), 2));
}

#[test]
fn names_that_are_no_devices_are_ignored_and_told() {
    for name in ["garbage", "0000:3B:00.1", UUID] {
        let (scan, fault) = only_fault(&two().folder(&format!("sys/bus/pci/devices/{name}")));
        assert_eq!((scan.devices.len(), fault.consequence), (2, Consequence::EntryIgnored));
    }
}

#[test]
fn a_list_that_cannot_be_read_is_not_a_list_without_devices() {
    let pci = Tree::new().without("sys/bus/pci/devices").file("sys/bus/pci/devices", "a file").scan();
    assert!(!pci.complete.pci && pci.complete.mdev);
    assert!(!pci.proves_gone(id_of(SOUND)) && pci.proves_gone(id_of(UUID)));

    let mdev = Tree::new().t4(SOUND, "1").file("sys/bus/mdev/devices", "a file").scan();
    assert!(mdev.complete.pci && !mdev.complete.mdev);
    assert_eq!(mdev.devices.len(), 1);
}

#[test]
fn a_root_without_sysfs_has_no_complete_list() {
    let tree = Tree::new().without("sys");
    let scan = tree.scan();
    assert!(!scan.complete.pci && !scan.complete.mdev);
    assert_eq!(scan.faults.len(), 2);
    assert!(matches!(read_device(&tree.root, id_of(SOUND)), Reading::Fault(_)));
}

#[test]
fn a_bus_without_its_list_is_a_fault() {
    assert!(!Tree::new().without("sys/bus/pci/devices").scan().complete.pci);
}

#[test]
fn nodes_that_cannot_be_listed_are_unknown_and_not_missing() {
    let tree = Tree::new().t4(SOUND, "1").file("dev/vfio", "a file");
    assert!(read_nodes(&tree.root).is_err());
    let (scan, fault) = only_fault(&tree);
    assert_eq!((scan.nodes, fault.consequence), (None, Consequence::NodesUnknown));
}
