use super::*;

const PF: &str = "sys/devices/pci0000:41/0000:41:00.0";

fn a100() -> NodeBuilder {
    Node::builder().pci(
        PciSpec::new("0000:41:00.0", "10DE:20B5")
            .driver("nvidia")
            .numa(1)
            .sriov(Sriov::new(16, 0x20b5).enabled(2).vf_driver("nvidia").vf_vgpu_type(0)),
    )
}

#[test]
fn virtual_functions_and_the_physical_one_know_each_other() {
    let node = a100().build().unwrap();
    assert_eq!(node.devices(), ["0000:41:00.0", "0000:41:00.4", "0000:41:00.5"]);
    assert_eq!(link(&node, &format!("{PF}/virtfn1")), "../0000:41:00.5");
    assert_eq!(link(&node, "sys/devices/pci0000:41/0000:41:00.5/physfn"), "../0000:41:00.0");
    assert_eq!(read(&node, &format!("{PF}/sriov_numvfs")), "2\n");
    assert_eq!(read(&node, &format!("{PF}/sriov_totalvfs")), "16\n");
    assert_eq!(read(&node, "sys/devices/pci0000:41/0000:41:00.5/numa_node"), "1\n");
    assert_no_link_is_broken(node.root());
}

#[test]
fn their_number_changes_only_through_zero() {
    let node = a100().build().unwrap();
    assert!(matches!(node.set_numvfs("0000:41:00.0", 3), Err(NodeError::VfsEnabled { enabled: 2, .. })));
    assert!(matches!(node.set_numvfs("0000:41:00.0", 17), Err(NodeError::TooManyVfs { total: 16, .. })));
    assert_eq!(node.set_numvfs("0000:41:00.0", 2).unwrap(), []);
    node.set_numvfs("0000:41:00.0", 0).unwrap();
    assert_eq!(node.devices(), ["0000:41:00.0"]);
    assert!(fs::symlink_metadata(node.path(&format!("{PF}/virtfn0"))).is_err());
    node.set_numvfs("0000:41:00.0", 16).unwrap();
    assert_eq!(node.devices().len(), 17);
    assert_eq!(link(&node, &format!("{PF}/virtfn15")), "../0000:41:02.3");
    assert_no_link_is_broken(node.root());
}

#[test]
fn they_go_with_the_driver_of_the_physical_function() {
    let node = a100().build().unwrap();
    let events = told(&node.unbind("0000:41:00.0").unwrap());
    assert_eq!(node.devices(), ["0000:41:00.0"]);
    assert_eq!(events.last().unwrap(), "unbind@/devices/pci0000:41/0000:41:00.0");
    assert!(matches!(node.set_numvfs("0000:41:00.0", 2), Err(NodeError::Unbound(_))));
}

#[test]
fn unplugging_the_physical_function_takes_them_along() {
    let node = a100().build().unwrap();
    node.unplug("0000:41:00.0").unwrap();
    assert_eq!(node.devices(), Vec::<String>::new());
    assert_no_link_is_broken(node.root());
}

#[test]
fn a_vgpu_type_makes_a_function_a_vfio_device() {
    let node = a100().build().unwrap();
    let group = node.group_of("0000:41:00.4").unwrap();
    let at = node.path(&format!("dev/vfio/{group}"));
    assert_eq!(read(&node, "sys/devices/pci0000:41/0000:41:00.4/nvidia/current_vgpu_type"), "0\n");
    assert!(!at.exists());
    node.set_vgpu_type("0000:41:00.4", 1155).unwrap();
    assert_eq!(read(&node, "sys/devices/pci0000:41/0000:41:00.4/nvidia/current_vgpu_type"), "1155\n");
    assert!(at.exists());
    node.set_vgpu_type("0000:41:00.4", 0).unwrap();
    assert!(!at.exists());
}
