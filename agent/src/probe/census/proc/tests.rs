//! A `/proc` and a `/sys` in a temporary folder.

use super::*;
use crate::probe::CensusTaker;
use std::os::unix::fs::symlink;

const PCI: &str = "0000:3b:00.0";
const MDEV: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.link("sys/bus/pci/devices/0000:3b:00.0/iommu_group", "../../../../kernel/iommu_groups/12");
        tree.link(&format!("sys/bus/mdev/devices/{MDEV}/iommu_group"), "../../../../kernel/iommu_groups/30");
        tree.link("sys/class/vfio-dev/vfio4", "../../devices/pci0000:3a/0000:3b:00.0/vfio-dev/vfio4");
        fs::create_dir_all(tree.0.path().join("proc/sys")).unwrap();
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    fn process(&self, pid: u32, stat: &str, descriptors: &[&str]) {
        fs::write(self.at(&format!("proc/{pid}/stat")), stat).unwrap();
        fs::create_dir_all(self.at(&format!("proc/{pid}/fd/.")).parent().unwrap()).unwrap();
        for (number, target) in descriptors.iter().enumerate() {
            self.link(&format!("proc/{pid}/fd/{number}"), target);
            fs::write(self.at(&format!("proc/{pid}/fdinfo/{number}")), "pos:\t0\nflags:\t02\n").unwrap();
        }
    }

    fn census(&self) -> Census {
        let mut census = CensusTaker::from_proc(&HostRoot::new(self.0.path())).take().unwrap();
        census.openings.sort_by_key(|opening| (opening.process.pid, opening.object));
        census
    }

    fn openings(&self) -> Vec<(u32, Object, u32)> {
        self.census().openings.iter().map(|opening| (opening.process.pid, opening.object, opening.fds)).collect()
    }
}

fn stat(pid: u32, command: &str, start: u64) -> String {
    let between = "0 ".repeat(18);
    format!("{pid} ({command}) S {between}{start} 123 456\n")
}

fn pci() -> Object {
    Object::of_device(Some(PCI.parse().unwrap()), Some(12))
}

#[test]
fn groups_are_named_and_descriptors_counted() {
    let tree = Tree::new();
    let descriptors =
        ["/dev/null", "/dev/vfio/vfio", "/dev/vfio/12", "/dev/vfio/12", "/dev/vfio/noiommu-3", "socket:[7]"];
    tree.process(40, &stat(40, "dpdk-testpmd", 5), &descriptors);
    tree.process(41, &stat(41, "sh", 6), &["/dev/pts/0"]);
    assert_eq!(tree.openings(), [(40, Object::of_group(3), 1), (40, Object::of_group(12), 2)]);
}

#[test]
fn a_device_without_a_name_belongs_to_the_only_group_of_its_process() {
    let tree = Tree::new();
    tree.process(40, &stat(40, "qemu", 5), &["/dev/vfio/12", "anon_inode:[vfio-device]", "anon_inode:[vfio-device]"]);
    tree.process(41, &stat(41, "qemu", 5), &["/dev/vfio/13", "/dev/vfio/14", "anon_inode:[vfio-device]"]);
    let of =
        |pid| tree.openings().into_iter().filter(|found| found.0 == pid && !found.1.is_group()).collect::<Vec<_>>();
    assert_eq!(of(40), [(40, Object::of_device(None, Some(12)), 2)]);
    assert_eq!(of(41), [(41, Object::of_device(None, None), 1)]);
}

#[test]
fn a_device_is_named_where_the_kernel_names_it() {
    let tree = Tree::new();
    tree.process(40, &stat(40, "qemu", 5), &["anon_inode:[vfio-device]", "/dev/vfio/devices/vfio4"]);
    fs::write(
        tree.at("proc/40/fdinfo/0"),
        format!("pos:\t0\nvfio-device-syspath: /sys/devices/virtual/mtty/mtty/{MDEV}\n"),
    )
    .unwrap();
    let mdev = Object::of_device(Some(MDEV.parse().unwrap()), Some(30));
    assert_eq!(tree.openings(), [(40, pci(), 1), (40, mdev, 1)]);
}

#[test]
fn a_node_that_is_gone_still_has_its_name() {
    let tree = Tree::new();
    tree.process(40, &stat(40, "qemu", 5), &["/dev/vfio/12 (deleted)", "/dev/vfio/devices/vfio4 (deleted)"]);
    assert_eq!(tree.openings(), [(40, Object::of_group(12), 1), (40, pci(), 1)]);
}

#[test]
fn a_command_may_look_like_the_rest_of_its_line() {
    let tree = Tree::new();
    tree.process(40, &stat(40, "a) S 1 (b", 777), &["/dev/vfio/12"]);
    let process = tree.census().openings.remove(0).process;
    assert_eq!((process.command.as_str(), process.start_ns), ("a) S 1 (b", Some(7_770_000_000)));
}

#[test]
fn a_process_that_ends_meanwhile_or_makes_no_sense_is_survived() {
    let tree = Tree::new();
    fs::create_dir_all(tree.at("proc/42/x").parent().unwrap()).unwrap();
    tree.process(40, "nonsense", &["/dev/vfio/12", "/dev/vfio/99999999999", "/dev/vfio/", "/dev/vfio/devices/none"]);
    let census = tree.census();
    assert_eq!(census.unreadable, 0, "a process without descriptors has ended");
    assert_eq!(census.openings.len(), 1);
    assert_eq!(census.openings[0].process.start_ns, None);
}

#[test]
fn what_cannot_be_looked_at_is_counted() {
    let tree = Tree::new();
    tree.process(40, &stat(40, "qemu", 5), &["/dev/vfio/12"]);
    // A file where the folder of descriptors should be fails with another error than one that ended.
    fs::write(tree.at("proc/41/fd"), "").unwrap();
    let census = tree.census();
    assert_eq!((census.openings.len(), census.unreadable), (1, 1));
}
