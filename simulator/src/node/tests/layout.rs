use super::*;

const GPU: &str = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";

#[test]
fn a_function_is_where_its_bridge_puts_it_and_links_lead_there() {
    let node = gpu_with_audio().build().unwrap();
    assert_eq!(
        link(&node, "sys/bus/pci/devices/0000:3b:00.0"),
        "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
    );
    assert_eq!(link(&node, &format!("{GPU}/driver")), "../../../../bus/pci/drivers/vfio-pci");
    assert_eq!(link(&node, &format!("{GPU}/subsystem")), "../../../../bus/pci");
    assert_eq!(link(&node, &format!("{GPU}/iommu_group")), "../../../../kernel/iommu_groups/12");
    assert_eq!(
        link(&node, "sys/bus/pci/drivers/vfio-pci/0000:3b:00.0"),
        "../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
    );
    assert_eq!(
        link(&node, "sys/kernel/iommu_groups/12/devices/0000:3b:00.1"),
        "../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1"
    );
    assert_no_link_is_broken(node.root());
}

#[test]
fn its_files_say_what_the_kernel_says() {
    let node = gpu_with_audio().build().unwrap();
    for (file, text) in [
        ("vendor", "0x10de\n"),
        ("device", "0x1eb8\n"),
        ("class", "0x030200\n"),
        ("numa_node", "1\n"),
        ("driver_override", "(null)\n"),
    ] {
        assert_eq!(read(&node, &format!("{GPU}/{file}")), text);
    }
    assert_eq!(
        read(&node, &format!("{GPU}/uevent")),
        "DRIVER=vfio-pci\nPCI_CLASS=30200\nPCI_ID=10DE:1EB8\nPCI_SUBSYS_ID=10DE:1EB8\nPCI_SLOT_NAME=0000:3b:00.0\n\
         MODALIAS=pci:v000010DEd00001EB8sv000010DEsd00001EB8bc03sc02i00\n"
    );
}

#[test]
fn a_vmd_domain_hangs_below_its_endpoint() {
    let node = Node::builder()
        .pci(PciSpec::new("0000:00:0e.0", "8086:9A0B").class(0x01_04_00).driver("vmd"))
        .pci(PciSpec::bridge("10000:e0:06.0").behind("0000:00:0e.0"))
        .pci(PciSpec::new("10000:e1:00.0", "144D:A80A").behind("10000:e0:06.0").driver("vfio-pci"))
        .build()
        .unwrap();
    assert_eq!(
        link(&node, "sys/bus/pci/devices/10000:e1:00.0"),
        "../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    );
    assert_no_link_is_broken(node.root());
}

#[test]
fn a_group_has_a_node_exactly_when_a_member_is_bound_to_vfio() {
    let node = gpu_with_audio().build().unwrap();
    assert!(node.path("dev/vfio/vfio").exists());
    let mut nodes: Vec<_> =
        fs::read_dir(node.path("dev/vfio")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    nodes.sort();
    assert_eq!(nodes, ["12", "vfio"]);
    assert_eq!(read(&node, "sys/kernel/iommu_groups/12/type"), "DMA-FQ\n");
    assert!(!node.path("sys/kernel/iommu_groups/12/name").exists());
    assert_eq!(link(&node, "sys/class/vfio/12"), "../../devices/virtual/vfio/12");
}

#[test]
fn without_an_iommu_the_group_comes_and_goes_with_vfio() {
    let spec = PciSpec::new("0000:00:05.0", "1234:11E8").without_iommu();
    let node = Node::builder().pci(spec).build().unwrap();
    assert_eq!(node.group_of("0000:00:05.0"), None);
    node.bind("0000:00:05.0", "vfio-pci").unwrap();
    assert_eq!(read(&node, "sys/kernel/iommu_groups/0/name"), "vfio-noiommu\n");
    assert!(node.path("dev/vfio/noiommu-0").exists());
    node.unbind("0000:00:05.0").unwrap();
    assert!(!node.path("dev/vfio/noiommu-0").exists());
    assert!(!node.path("sys/kernel/iommu_groups/0").exists());
}

#[test]
fn cdevs_are_listed_and_have_nodes_where_the_kernel_offers_them() {
    let node = gpu_with_audio().vfio_cdevs().build().unwrap();
    assert_eq!(link(&node, &format!("{GPU}/vfio-dev/vfio0/device")), "../../../0000:3b:00.0");
    assert!(node.path("dev/vfio/devices/vfio0").exists());
    node.unbind("0000:3b:00.0").unwrap();
    assert!(!node.path("dev/vfio/devices").exists(), "devtmpfs keeps no empty folder");
    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    assert!(node.path("dev/vfio/devices/vfio0").exists());

    let without = gpu_with_audio().build().unwrap();
    assert!(without.path(&format!("{GPU}/vfio-dev/vfio0")).exists());
    assert!(!without.path("dev/vfio/devices").exists());

    let old = gpu_with_audio().kernel(Kernel::V5_15).build().unwrap();
    assert!(!old.path(&format!("{GPU}/vfio-dev")).exists());
}

#[test]
fn group_numbers_are_the_lowest_that_nobody_asked_for() {
    let node = Node::builder()
        .pci(PciSpec::new("0000:01:00.0", "10DE:1EB8"))
        .pci(PciSpec::new("0000:02:00.0", "10DE:1EB8"))
        .pci(PciSpec::new("0000:03:00.0", "10DE:1EB8").group(1))
        .build()
        .unwrap();
    let groups = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"].map(|bdf| node.group_of(bdf));
    assert_eq!(groups, [Some(0), Some(2), Some(1)]);
}

#[test]
fn a_wrong_description_is_named() {
    let error = |spec| Node::builder().pci(spec).build().unwrap_err().to_string();
    assert!(error(PciSpec::new("3b:00.0", "10DE:1EB8")).contains("\"3b:00.0\""));
    assert!(error(PciSpec::new("0000:3b:00.0", "10DE")).contains("\"10DE\""));
    assert!(error(PciSpec::new("0000:3b:00.0", "10DE:1EB8").behind("0000:3a:00.0")).contains("0000:3a:00.0"));
}

#[test]
fn a_temporary_node_goes_with_its_owner_and_a_placed_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("node");
    drop(Node::builder().at(&at).build().unwrap());
    assert!(at.join("dev/vfio/vfio").exists());

    let node = Node::builder().build().unwrap();
    let root = node.root().to_owned();
    drop(node);
    assert!(!root.exists());
}

#[test]
fn thousands_of_devices_are_as_complete_as_one() {
    let fleet = PciFleet::new("10DE:1EB8", 4096).driver("vfio-pci").numa_nodes(2).functions_per_group(2);
    let node = Node::builder().pci_fleet(&fleet).build().unwrap();
    assert_eq!(fs::read_dir(node.path("sys/bus/pci/devices")).unwrap().count(), 4096);
    assert_eq!(fs::read_dir(node.path("sys/kernel/iommu_groups")).unwrap().count(), 2048);
    assert_eq!(fs::read_dir(node.path("dev/vfio")).unwrap().count(), 2049);
    let last = format!("sys/bus/pci/devices/{}", fleet.addresses().last().unwrap());
    assert_eq!(read(&node, &format!("{last}/numa_node")), "1\n");
    assert!(read(&node, &format!("{last}/uevent")).starts_with("DRIVER=vfio-pci\nPCI_CLASS=30200\n"));
    assert_eq!(fs::read_dir(node.path(&format!("{last}/iommu_group/devices"))).unwrap().count(), 2);
}

#[test]
fn a_fleet_of_mdevs_brings_its_parents() {
    let fleet =
        MdevFleet::new(MdevType::new("nvidia-222", "GRID T4-1Q"), 100, PciFleet::new("10DE:1EB8", 8).numa_nodes(2));
    let node = Node::builder().mdev_fleet(&fleet).build().unwrap();
    assert_eq!(node.devices().len(), 108);
    for uuid in fleet.uuids() {
        assert_eq!(read(&node, &format!("sys/bus/mdev/devices/{uuid}/mdev_type/name")), "GRID T4-1Q\n");
    }
    let first = &fleet.parent_addresses()[0];
    let offered = format!("sys/class/mdev_bus/{first}/mdev_supported_types/nvidia-222");
    assert_eq!(fs::read_dir(node.path(&format!("{offered}/devices"))).unwrap().count(), 13);
    assert_eq!(read(&node, &format!("{offered}/available_instances")), "0\n");
    assert_no_link_is_broken(node.root());
}
