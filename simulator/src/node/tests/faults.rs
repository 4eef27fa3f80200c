use rustix::io::Errno;

use super::*;

const GPU: &str = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0";

fn broken(fault: Fault) -> (Node, PathBuf) {
    let node = gpu_with_audio().build().unwrap();
    node.break_file("0000:3b:00.0", "uevent", fault).unwrap();
    let path = node.path(&format!("{GPU}/uevent"));
    (node, path)
}

#[test]
fn each_fault_is_what_its_name_says() {
    let error = |fault| {
        let (_node, path) = broken(fault);
        fs::read(path).unwrap_err().raw_os_error().map(Errno::from_raw_os_error)
    };
    assert_eq!(error(Fault::Gone), Some(Errno::NOENT));
    assert_eq!(error(Fault::Dangling), Some(Errno::NOENT));
    assert_eq!(error(Fault::Loop), Some(Errno::LOOP));
    assert_eq!(error(Fault::Folder), Some(Errno::ISDIR));

    let text = |fault| {
        let (_node, path) = broken(fault);
        fs::read(path).unwrap()
    };
    assert!(text(Fault::Empty).is_empty());
    assert!(String::from_utf8(text(Fault::Garbage)).is_err());

    let (_node, path) = broken(Fault::Huge(1 << 40));
    assert_eq!(fs::metadata(path).unwrap().len(), 1 << 40);

    let (_node, path) = broken(Fault::Forbidden);
    match fs::read(path) {
        Ok(text) => assert!(text.is_empty(), "only root may get here"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[test]
fn a_fault_outlives_operations_and_mending_shows_the_truth() {
    let (node, path) = broken(Fault::Garbage);
    node.unbind("0000:3b:00.0").unwrap();
    assert!(fs::read_to_string(&path).is_err());
    node.mend("0000:3b:00.0", "uevent").unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("PCI_CLASS="));
}

#[test]
fn a_broken_link_is_made_new_by_the_next_bind() {
    let node = gpu_with_audio().build().unwrap();
    node.break_link("0000:3b:00.0", "driver").unwrap();
    let driver = node.path(&format!("{GPU}/driver"));
    assert!(fs::symlink_metadata(&driver).is_ok() && !driver.exists());
    node.unbind("0000:3b:00.0").unwrap();
    assert!(fs::symlink_metadata(&driver).is_err());
    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    assert!(driver.exists());
}

#[test]
fn a_vanished_device_leaves_its_links_and_comes_back_changed() {
    let node = gpu_with_audio().build().unwrap();
    node.vanish("0000:3b:00.0").unwrap();
    for link in ["sys/bus/pci/devices/0000:3b:00.0", "sys/kernel/iommu_groups/12/devices/0000:3b:00.0"] {
        assert!(fs::symlink_metadata(node.path(link)).is_ok() && !node.path(link).exists(), "{link}");
    }
    node.unbind("0000:3b:00.0").unwrap();
    node.mend("0000:3b:00.0", "").unwrap();
    assert!(!read(&node, &format!("{GPU}/uevent")).contains("DRIVER"));
    assert_no_link_is_broken(node.root());
}

#[test]
fn faults_go_with_what_they_broke() {
    let node = gpu_with_audio().build().unwrap();
    node.break_file("0000:3b:00.0", "uevent", Fault::Folder).unwrap();
    node.break_link("0000:3b:00.0", "iommu_group").unwrap();
    node.unplug("0000:3b:00.0").unwrap();
    assert!(!node.path(GPU).exists());
    node.plug(PciSpec::new("0000:3b:00.0", "10DE:1EB8").behind("0000:3a:00.0")).unwrap();
    assert!(read(&node, &format!("{GPU}/uevent")).contains("PCI_ID=10DE:1EB8"));
    assert_no_link_is_broken(node.root());
}

#[test]
fn one_file_changes_and_those_that_look_the_same_do_not() {
    let node = gpu_with_audio().build().unwrap();
    node.write_path(&format!("{GPU}/driver_override"), "vfio-pci\n").unwrap();
    assert_eq!(read(&node, "sys/bus/pci/devices/0000:3b:00.0/driver_override"), "vfio-pci\n");
    assert_eq!(read(&node, "sys/bus/pci/devices/0000:3b:00.1/driver_override"), "(null)\n");
}
