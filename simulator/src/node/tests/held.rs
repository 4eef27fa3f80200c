use super::*;

const GPU: &str = "/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";

fn held(kernel: Kernel) -> Node {
    let node = gpu_with_audio().kernel(kernel).build().unwrap();
    node.hold("0000:3b:00.0").unwrap();
    node
}

#[test]
fn unbinding_an_open_device_stops_after_the_link() {
    let node = held(Kernel::V6_1);
    assert_eq!(node.unbind("0000:3b:00.0").unwrap(), [], "6.1 says nothing until the device is closed");
    assert!(!node.path(&format!("sys{GPU}/driver")).exists());
    assert!(node.path(&format!("sys{GPU}/vfio-dev/vfio0")).exists());
    assert!(node.path(&format!("sys{GPU}/iommu_group")).exists());
    assert!(node.path("dev/vfio/12").exists());
    assert!(matches!(node.unbind("0000:3b:00.0"), Err(NodeError::Removing(_))));
    assert!(matches!(node.bind("0000:3b:00.0", "vfio-pci"), Err(NodeError::Bound { .. })));

    let events = node.let_go("0000:3b:00.0").unwrap();
    assert_eq!(
        told(&events),
        [format!("remove@{GPU}/vfio-dev/vfio0"), "remove@/devices/virtual/vfio/12".to_owned(), format!("unbind@{GPU}")]
    );
    assert!(!node.path("dev/vfio/12").exists());
    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
}

#[test]
fn whoever_reads_uevent_meanwhile_waits_and_other_files_do_not() {
    let node = held(Kernel::V6_1);
    node.unbind("0000:3b:00.0").unwrap();
    assert_eq!(read(&node, &format!("sys{GPU}/vendor")), "0x10de\n");
    let uevent = node.path(&format!("sys{GPU}/uevent"));
    let reader = std::thread::spawn(move || fs::read_to_string(uevent).unwrap());
    node.let_go("0000:3b:00.0").unwrap();
    let text = reader.join().unwrap();
    assert!(!text.contains("DRIVER"), "either it waited, or it came late: {text}");
    assert!(read(&node, &format!("sys{GPU}/uevent")).starts_with("PCI_CLASS="));
}

#[test]
fn newer_kernels_say_at_once_that_the_device_leaves_vfio() {
    let node = held(Kernel::V6_12);
    assert_eq!(told(&node.unbind("0000:3b:00.0").unwrap()), [format!("remove@{GPU}/vfio-dev/vfio0")]);
    assert!(!node.path(&format!("sys{GPU}/vfio-dev")).exists());
    assert!(node.path("dev/vfio/12").exists());
    assert_eq!(
        told(&node.let_go("0000:3b:00.0").unwrap()),
        ["remove@/devices/virtual/vfio/12".to_owned(), format!("unbind@{GPU}")]
    );
}

#[test]
fn unplugging_a_bridge_waits_for_the_device_below_it() {
    let node = held(Kernel::V6_1);
    node.unplug("0000:3a:00.0").unwrap();
    assert_eq!(
        node.devices(),
        ["0000:3a:00.0", "0000:3b:00.0", "0000:3b:00.1"],
        "all are stopped before one is removed"
    );
    assert_eq!(node.driver_of("0000:3b:00.1"), None);
    assert!(node.path(&format!("sys{GPU}")).exists());
    let events = told(&node.let_go("0000:3b:00.0").unwrap());
    assert_eq!(events.last().unwrap(), "remove@/devices/pci0000:3a/0000:3a:00.0");
    assert_eq!(node.devices(), Vec::<String>::new());
    assert_no_link_is_broken(node.root());
}

#[test]
fn an_open_mdev_keeps_its_parent_from_leaving() {
    const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    let parent =
        PciSpec::new("0000:3b:00.0", "10DE:1EB8").driver("nvidia").mdev_type(MdevType::new("nvidia-222", "T4"));
    let node = Node::builder().pci(parent).mdev(MdevSpec::new(UUID, "0000:3b:00.0", "nvidia-222")).build().unwrap();
    node.hold(UUID).unwrap();
    let group = node.group_of(UUID).unwrap();
    node.unbind("0000:3b:00.0").unwrap();
    assert!(!node.path(&format!("sys/bus/mdev/devices/{UUID}")).exists(), "it leaves the bus first");
    assert!(node.path(&format!("dev/vfio/{group}")).exists());
    let mut left: Vec<_> =
        fs::read_dir(node.device_path(UUID).unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["iommu_group", "vfio-dev"]);
    assert_eq!(node.driver_of("0000:3b:00.0").as_deref(), Some("nvidia"));
    node.let_go(UUID).unwrap();
    assert_eq!(node.devices(), ["0000:3b:00.0"]);
    assert_eq!(node.driver_of("0000:3b:00.0"), None);
    assert_no_link_is_broken(node.root());
}

#[test]
fn what_is_not_with_vfio_cannot_be_open() {
    let node = gpu_with_audio().build().unwrap();
    assert!(matches!(node.hold("0000:3b:00.1"), Err(NodeError::NotVfio(_))));
}
