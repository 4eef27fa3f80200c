//! What a listener finds that looks the moment it hears.

use std::sync::mpsc;

use super::*;

const GPU: &str = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";

/// Runs operations, and says for each event which of some paths were there when it was sent.
fn at_each_event(node: &Node, paths: &[&str], operations: impl FnOnce(&Node)) -> Vec<(String, Vec<bool>)> {
    let (sender, receiver) = mpsc::channel();
    let paths: Vec<PathBuf> = paths.iter().map(|path| node.path(path)).collect();
    node.on_event(move |event| {
        let there = paths.iter().map(|path| fs::symlink_metadata(path).is_ok()).collect();
        sender.send((event.to_string(), there)).unwrap();
    });
    operations(node);
    receiver.try_iter().collect()
}

#[test]
fn a_node_is_there_before_it_is_announced_and_gone_before_its_removal_is() {
    let node = gpu_with_audio().build().unwrap();
    let paths = ["dev/vfio/12", &format!("{GPU}/driver")];
    let moments = at_each_event(&node, &paths, |node| {
        node.unbind("0000:3b:00.0").unwrap();
        node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    });
    let there: Vec<_> = moments.into_iter().map(|(event, there)| (event[..4].to_owned(), there)).collect();
    let moment = |event: &str, node, driver| (event.to_owned(), vec![node, driver]);
    assert_eq!(
        there,
        [
            moment("remo", true, false),
            moment("remo", false, false),
            moment("unbi", false, false),
            moment("add@", true, true),
            moment("add@", true, true),
            moment("bind", true, true),
        ]
    );
}

#[test]
fn a_removed_device_is_announced_while_its_folder_is_still_there() {
    let node = gpu_with_audio().build().unwrap();
    let uevent = format!("{GPU}/uevent");
    let paths = ["sys/bus/pci/devices/0000:3b:00.0", "sys/kernel/iommu_groups/12/devices/0000:3b:00.0", &uevent, GPU];
    let moments = at_each_event(&node, &paths, |node| drop(node.unplug("0000:3b:00.0").unwrap()));
    let (event, there) = moments.last().unwrap();
    assert!(event.starts_with("remove@"));
    assert_eq!(*there, [false, false, false, true]);
    assert!(!node.path(GPU).exists());
}

#[test]
fn an_mdev_is_announced_before_its_type_is_known() {
    const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    let parent =
        PciSpec::new("0000:3b:00.0", "10DE:1EB8").driver("nvidia").mdev_type(MdevType::new("nvidia-222", "T4"));
    let node = Node::builder().pci(parent).build().unwrap();
    let paths = [format!("sys/bus/mdev/devices/{UUID}/driver"), format!("sys/bus/mdev/devices/{UUID}/mdev_type")];
    let moments = at_each_event(&node, &[&paths[0], &paths[1]], |node| {
        drop(node.create_mdev(MdevSpec::new(UUID, "0000:3b:00.0", "nvidia-222")).unwrap());
    });
    let (event, there) = moments.last().unwrap();
    assert!(event.starts_with("bind@"));
    assert_eq!(*there, [true, false]);
    assert!(node.path(&paths[1]).exists());
}
