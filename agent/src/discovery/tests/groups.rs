//! IOMMU groups and their members.

use super::tree::{Tree, home};
use crate::discovery::{UNREADABLE, read_group};
use vfiod_core::device::Group;

const GPU: &str = "0000:01:00.0";
const AUDIO: &str = "0000:01:00.1";

/// The group as a scan sees it; a targeted read must see the same.
fn group(tree: &Tree, id: u32) -> Group {
    let scan = tree.scan();
    let group = scan.groups.into_iter().find(|group| group.id == id).unwrap();
    assert_eq!(read_group(&tree.root, id), Ok(Some(group.clone())));
    group
}

fn names(group: &Group) -> Vec<String> {
    group.members.iter().map(|member| member.name.to_string()).collect()
}

#[test]
fn a_group_has_all_its_members_and_knows_its_obstacle() {
    let tree = Tree::new().t4(GPU, "7").pci(AUDIO, "10DE:10F8").driver(AUDIO, "snd_hda_intel").group(AUDIO, "7");
    let group = group(&tree, 7);
    assert_eq!(names(&group), [GPU, AUDIO]);
    assert_eq!(group.obstacle().unwrap().driver, "snd_hda_intel");
    assert!(!group.noiommu);
}

#[test]
fn a_bridge_on_pcieport_is_a_member_that_does_no_harm() {
    let bridge = "0000:00:1c.0";
    let tree = Tree::new()
        .t4(GPU, "7")
        .pci(bridge, "8086:A110")
        .file(&format!("{}/uevent", home(bridge)), "PCI_CLASS=60400\nPCI_ID=8086:A110\n")
        .driver(bridge, "pcieport")
        .group(bridge, "7");
    let group = group(&tree, 7);
    assert_eq!((names(&group), group.obstacle()), (vec![bridge.to_owned(), GPU.to_owned()], None));
}

#[test]
fn a_device_whose_link_names_a_group_belongs_to_it_though_the_group_does_not_list_it() {
    let tree = Tree::new().t4(GPU, "7").t4(AUDIO, "7").without(&format!("sys/kernel/iommu_groups/7/devices/{AUDIO}"));
    assert_eq!(names(&tree.scan().groups[0]), [GPU, AUDIO]);
    let tree = tree.without("sys/kernel/iommu_groups");
    assert_eq!(names(&group(&tree, 7)), [GPU, AUDIO]);
}

#[test]
fn members_of_other_buses_are_members() {
    let tree = Tree::new()
        .t4(GPU, "7")
        .file("sys/devices/platform/serial8250/uevent", "")
        .link("sys/devices/platform/serial8250/driver", "../../../bus/platform/drivers/serial8250")
        .link("sys/kernel/iommu_groups/7/devices/serial8250", "../../../../devices/platform/serial8250");
    let group = group(&tree, 7);
    assert_eq!(group.obstacle().unwrap().member, "serial8250");
}

#[test]
fn a_function_that_is_left_out_still_stands_in_its_groups_way() {
    let tree = Tree::new()
        .t4(GPU, "7")
        .pci(AUDIO, "10DE:10F8")
        .driver(AUDIO, "snd_hda_intel")
        .group(AUDIO, "7")
        .file(&format!("{}/uevent", home(AUDIO)), "garbage");
    assert_eq!(group(&tree, 7).obstacle().unwrap().member, AUDIO);
}

#[test]
fn a_neighbour_whose_driver_cannot_be_read_is_not_guessed_to_be_harmless() {
    let tree = Tree::new()
        .t4(GPU, "7")
        .pci(AUDIO, "10DE:10F8")
        .group(AUDIO, "7")
        .file(&format!("{}/driver", home(AUDIO)), "a file, not a link");
    assert_eq!(group(&tree, 7).obstacle().unwrap().driver, UNREADABLE);
}

#[test]
fn a_member_that_is_a_broken_link_has_no_driver() {
    let tree = Tree::new().t4(GPU, "7").link("sys/kernel/iommu_groups/7/devices/0000:01:00.7", "../nowhere");
    let group = group(&tree, 7);
    assert_eq!((names(&group), group.obstacle()), (vec![GPU.to_owned(), "0000:01:00.7".to_owned()], None));
}

#[test]
fn groups_without_an_iommu_say_so() {
    let tree = Tree::new().t4(GPU, "7").file("sys/kernel/iommu_groups/7/name", "vfio-noiommu\n");
    assert!(group(&tree, 7).noiommu);
}

#[test]
fn a_group_that_the_host_does_not_have_is_none() {
    assert_eq!(read_group(&Tree::new().root, 99), Ok(None));
}

#[test]
fn a_group_whose_list_cannot_be_read_is_known_by_its_members_links() {
    let tree = Tree::new()
        .t4(GPU, "7")
        .without("sys/kernel/iommu_groups/7/devices")
        .file("sys/kernel/iommu_groups/7/devices", "not a folder");
    let scan = tree.scan();
    assert_eq!(names(&scan.groups[0]), [GPU]);
    assert_eq!(scan.faults.len(), 1);
    assert!(read_group(&tree.root, 7).is_err());
}
