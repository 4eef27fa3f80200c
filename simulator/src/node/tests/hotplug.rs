use super::*;

const GPU: &str = "/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";

#[test]
fn unbind_takes_the_link_the_node_and_then_speaks() {
    let node = gpu_with_audio().build().unwrap();
    let events = node.unbind("0000:3B:00.0").unwrap();
    assert_eq!(
        told(&events),
        [format!("remove@{GPU}/vfio-dev/vfio0"), "remove@/devices/virtual/vfio/12".to_owned(), format!("unbind@{GPU}"),]
    );
    assert!(!node.path(&format!("sys{GPU}/driver")).exists());
    assert!(!node.path("dev/vfio/12").exists());
    assert!(!read(&node, &format!("sys{GPU}/uevent")).contains("DRIVER"));
    assert_eq!(events[2].property("PCI_SLOT_NAME"), Some("0000:3b:00.0"));
    assert_eq!(events[2].property("DRIVER"), None);
    assert!(matches!(node.unbind("0000:3b:00.0"), Err(NodeError::Unbound(_))));
}

#[test]
fn the_node_stays_as_long_as_a_sibling_is_bound_to_vfio() {
    let node = gpu_with_audio().build().unwrap();
    node.unbind("0000:3b:00.1").unwrap();
    node.bind("0000:3b:00.1", "vfio-pci").unwrap();
    let events = node.unbind("0000:3b:00.0").unwrap();
    assert!(node.path("dev/vfio/12").exists());
    assert!(!told(&events).iter().any(|event| event.contains("virtual/vfio")));
}

#[test]
fn bind_announces_the_group_the_device_and_the_driver() {
    let node = gpu_with_audio().build().unwrap();
    node.unbind("0000:3b:00.0").unwrap();
    let events = node.bind("0000:3b:00.0", "mlx5_vfio_pci").unwrap();
    assert_eq!(
        told(&events),
        [
            "add@/bus/pci/drivers/mlx5_vfio_pci".to_owned(),
            "add@/devices/virtual/vfio/12".to_owned(),
            format!("add@{GPU}/vfio-dev/vfio0"),
            format!("bind@{GPU}"),
        ]
    );
    assert_eq!(events[3].property("DRIVER"), Some("mlx5_vfio_pci"));
    assert_eq!(events[1].property("DEVNAME"), Some("vfio/12"));
    assert!(matches!(node.bind("0000:3b:00.0", "vfio-pci"), Err(NodeError::Bound { .. })));
}

#[test]
fn unplug_leaves_nothing_of_the_device() {
    let node = gpu_with_audio().build().unwrap();
    let events = node.unplug("0000:3b:00.0").unwrap();
    assert_eq!(told(&events)[2..], [format!("unbind@{GPU}"), format!("remove@{GPU}")]);
    assert!(!node.path(&format!("sys{GPU}")).exists());
    assert!(fs::symlink_metadata(node.path("sys/bus/pci/devices/0000:3b:00.0")).is_err());
    assert!(node.path("sys/kernel/iommu_groups/12/devices/0000:3b:00.1").exists());

    node.unplug("0000:3b:00.1").unwrap();
    assert!(!node.path("sys/kernel/iommu_groups/12").exists());
    assert_no_link_is_broken(node.root());
}

#[test]
fn a_bridge_takes_everything_below_it_along() {
    let node = gpu_with_audio().build().unwrap();
    let events = told(&node.unplug("0000:3a:00.0").unwrap());
    assert_eq!(node.devices(), Vec::<String>::new());
    assert_eq!(events.last().unwrap(), "remove@/devices/pci0000:3a/0000:3a:00.0");
    let position = |event: &str| events.iter().position(|told| told == event).unwrap();
    assert!(position(&format!("unbind@{GPU}")) < position(&format!("remove@{GPU}")));
    assert_no_link_is_broken(node.root());
}

#[test]
fn a_plugged_device_appears_whole() {
    let node = gpu_with_audio().build().unwrap();
    let spec = PciSpec::new("0000:5e:00.0", "8086:6F54").driver("vfio-pci");
    let events = node.plug(spec.clone()).unwrap();
    let path = "/devices/pci0000:5e/0000:5e:00.0";
    assert_eq!(
        told(&events),
        [
            format!("add@{path}"),
            "add@/devices/virtual/vfio/1".to_owned(),
            format!("add@{path}/vfio-dev/vfio1"),
            format!("bind@{path}")
        ]
    );
    assert_eq!(events[0].property("PCI_ID"), Some("8086:6F54"));
    assert!(node.path("dev/vfio/1").exists());
    assert!(matches!(node.plug(spec), Err(NodeError::Exists(_))));
}

#[test]
fn a_node_can_go_and_come_back_without_a_word() {
    let node = gpu_with_audio().build().unwrap();
    node.node_gone(12).unwrap();
    assert!(!node.path("dev/vfio/12").exists());
    assert!(node.path("sys/class/vfio/12").exists());
    node.node_back(12).unwrap();
    assert!(node.path("dev/vfio/12").exists());
    assert!(matches!(node.node_gone(0), Err(NodeError::NoNode(0))));
    assert!(matches!(node.node_gone(99), Err(NodeError::NoGroup(99))));
}

#[test]
fn a_datagram_is_what_the_kernel_sends() {
    let node = gpu_with_audio().build().unwrap();
    let events = node.unbind("0000:3b:00.1").unwrap();
    let path = "/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1";
    assert_eq!(
        String::from_utf8(events[0].datagram()).unwrap(),
        format!(
            "unbind@{path}\0ACTION=unbind\0DEVPATH={path}\0SUBSYSTEM=pci\0PCI_CLASS=40300\0PCI_ID=10DE:10F8\0\
             PCI_SUBSYS_ID=10DE:10F8\0PCI_SLOT_NAME=0000:3b:00.1\0SEQNUM=1\0"
        )
    );
}
