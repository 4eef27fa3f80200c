use super::*;

const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
const PARENT: &str = "sys/devices/pci0000:3b/0000:3b:00.0";

fn t4() -> NodeBuilder {
    Node::builder().pci(
        PciSpec::new("0000:3b:00.0", "10DE:1EB8")
            .driver("nvidia")
            .mdev_type(MdevType::new("nvidia-222", "GRID T4-1B").available(2).description("num_heads=4"))
            .mdev_type(MdevType::nameless("nvidia-223")),
    )
}

#[test]
fn an_mdev_links_its_type_group_and_driver() {
    let node = t4().mdev(MdevSpec::new(UUID, "0000:3b:00.0", "nvidia-222")).build().unwrap();
    let at = format!("{PARENT}/{UUID}");
    assert_eq!(
        link(&node, &format!("sys/bus/mdev/devices/{UUID}")),
        format!("../../../devices/pci0000:3b/0000:3b:00.0/{UUID}")
    );
    assert_eq!(link(&node, &format!("{at}/mdev_type")), "../mdev_supported_types/nvidia-222");
    assert_eq!(link(&node, &format!("{at}/driver")), "../../../../bus/mdev/drivers/vfio_mdev");
    assert_eq!(link(&node, &format!("{at}/iommu_group")), "../../../../kernel/iommu_groups/1");
    assert_eq!(read(&node, &format!("{at}/mdev_type/name")), "GRID T4-1B\n");
    assert_eq!(read(&node, &format!("{at}/mdev_type/available_instances")), "1\n");
    assert_eq!(
        link(&node, &format!("{PARENT}/mdev_supported_types/nvidia-222/devices/{UUID}")),
        format!("../../../{UUID}")
    );
    assert_eq!(link(&node, "sys/class/mdev_bus/0000:3b:00.0"), "../../devices/pci0000:3b/0000:3b:00.0");
    assert_eq!(read(&node, "sys/kernel/iommu_groups/1/name"), "vfio-noiommu\n");
    assert!(node.path("dev/vfio/1").exists());
    assert!(!node.path(&format!("{PARENT}/mdev_supported_types/nvidia-223/name")).exists());
    assert_no_link_is_broken(node.root());
}

#[test]
fn a_virtual_parent_sits_among_the_virtual_devices() {
    let node = Node::builder()
        .virtual_parent(VirtualParent::new("mtty", "mtty").mdev_type(MdevType::new("mtty-1", "Single port serial")))
        .mdev(MdevSpec::new(UUID, "mtty", "mtty-1").driver("mtty"))
        .build()
        .unwrap();
    assert_eq!(
        link(&node, &format!("sys/bus/mdev/devices/{UUID}")),
        format!("../../../devices/virtual/mtty/mtty/{UUID}")
    );
    assert_eq!(link(&node, "sys/class/mdev_bus/mtty"), "../../devices/virtual/mtty/mtty");
    assert_eq!(read(&node, &format!("sys/bus/mdev/devices/{UUID}/mdev_type/name")), "Single port serial\n");
    assert_no_link_is_broken(node.root());
}

#[test]
fn creation_and_removal_are_announced_in_the_kernels_order() {
    let node = t4().build().unwrap();
    let at = format!("/devices/pci0000:3b/0000:3b:00.0/{UUID}");
    let events = told(&node.create_mdev(MdevSpec::new(UUID.to_uppercase(), "0000:3b:00.0", "nvidia-222")).unwrap());
    assert_eq!(
        events,
        [
            format!("add@{at}"),
            "add@/bus/mdev/drivers/vfio_mdev".to_owned(),
            "add@/devices/virtual/vfio/1".to_owned(),
            format!("add@{at}/vfio-dev/vfio0"),
            format!("bind@{at}"),
        ]
    );
    let events = told(&node.remove_mdev(UUID).unwrap());
    assert_eq!(
        events,
        [
            format!("remove@{at}/vfio-dev/vfio0"),
            "remove@/devices/virtual/vfio/1".to_owned(),
            format!("unbind@{at}"),
            format!("remove@{at}"),
        ]
    );
    assert!(!node.path("dev/vfio/1").exists());
    assert!(!node.path(&format!("sys{at}")).exists());
    assert_eq!(read(&node, &format!("{PARENT}/mdev_supported_types/nvidia-222/available_instances")), "2\n");
    assert_no_link_is_broken(node.root());
}

#[test]
fn instances_run_out_and_names_are_taken_once() {
    let node = t4().build().unwrap();
    let create = |uuid: &str| node.create_mdev(MdevSpec::new(uuid, "0000:3b:00.0", "nvidia-222"));
    create(UUID).unwrap();
    assert!(matches!(create(UUID), Err(NodeError::Exists(_))));
    create("83b8f4f2-509f-382f-3c1e-e6bfe0fa1002").unwrap();
    assert!(matches!(create("83b8f4f2-509f-382f-3c1e-e6bfe0fa1003"), Err(NodeError::NoInstance { .. })));
    assert!(matches!(create("nonsense"), Err(NodeError::Uuid(_))));
    let unknown = MdevSpec::new(UUID.replace("1001", "1009"), "0000:3b:00.0", "nvidia-999");
    assert!(matches!(node.create_mdev(unknown), Err(NodeError::NoMdevType { .. })));
}

#[test]
fn mdevs_go_with_the_driver_of_their_parent() {
    let node = t4().mdev(MdevSpec::new(UUID, "0000:3b:00.0", "nvidia-222")).build().unwrap();
    let events = node.unbind("0000:3b:00.0").unwrap();
    assert_eq!(node.devices(), ["0000:3b:00.0"]);
    assert!(!node.path(&format!("{PARENT}/mdev_supported_types")).exists());
    assert!(events.iter().any(|event| event.property("MDEV_STATE") == Some("unregistered")));

    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    assert!(!node.path(&format!("{PARENT}/mdev_supported_types")).exists());
    node.unbind("0000:3b:00.0").unwrap();
    node.bind("0000:3b:00.0", "nvidia").unwrap();
    assert_eq!(read(&node, &format!("{PARENT}/mdev_supported_types/nvidia-222/available_instances")), "2\n");
    assert_no_link_is_broken(node.root());
}
