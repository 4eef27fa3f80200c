//! What was remembered of a host is believed of what has not changed, and of nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;
use vfiod::discovery::{HostRoot, Remembered, look_again, scan};
use vfiod_simulator::node::{MdevSpec, MdevType, Node, PciFleet, PciSpec, Sriov, VirtualParent};

const GPU: &str = "0000:3b:00.0";
const AUDIO: &str = "0000:3b:00.1";
const PF: &str = "0000:81:00.0";
const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

/// A node in memory: there, as in sysfs, no entry gets the number of one that was before.
fn node() -> (TempDir, Node) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let node = Node::builder()
        .at(folder.path().join("host"))
        .pci(PciSpec::new(GPU, "10DE:20B0").driver("vfio-pci").numa(1))
        .pci(PciSpec::new(AUDIO, "10DE:10F0").driver("vfio-pci").sharing_group_with(GPU))
        .pci(
            PciSpec::new(PF, "10DE:2236")
                .driver("nvidia")
                .sriov(Sriov::new(4, 0x2236).enabled(2).vf_driver("nvidia").vf_vgpu_type(0)),
        )
        .pci(PciSpec::new("0000:82:00.0", "8086:6F54").driver("vfio-pci").without_iommu())
        .virtual_parent(VirtualParent::new("mtty", "mtty").mdev_type(MdevType::new("mtty-1", "Single port serial")))
        .mdev(MdevSpec::new(UUID, "mtty", "mtty-1"))
        .pci_fleet(&PciFleet::new("10DE:20B0", 80).driver("vfio-pci").numa_nodes(2).functions_per_group(2))
        .build()
        .unwrap();
    (folder, node)
}

/// What a look at everything remembers, as the next daemon reads it from the file.
fn remember(root: &HostRoot) -> Remembered {
    let remembered = look_again(root, Remembered::default).found;
    let bytes = remembered.encode(root).unwrap();
    assert_eq!(Remembered::decode(&bytes, root).unwrap(), remembered, "nothing is lost in the file");
    remembered
}

#[derive(Debug, Clone)]
enum Step {
    Unbind(prop::sample::Index),
    Bind(prop::sample::Index, &'static str),
    Unplug(prop::sample::Index),
    Plug(u8, bool),
    Functions(u16),
    Vgpu(u32),
    RemoveMdev,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Step::Unbind),
        (any::<prop::sample::Index>(), prop::sample::select(vec!["vfio-pci", "nvidia", "mlx5_vfio_pci"]))
            .prop_map(|(device, driver)| Step::Bind(device, driver)),
        any::<prop::sample::Index>().prop_map(Step::Unplug),
        (0..8_u8, any::<bool>()).prop_map(|(slot, together)| Step::Plug(slot, together)),
        (0..=4_u16).prop_map(Step::Functions),
        (0..3_u32).prop_map(Step::Vgpu),
        Just(Step::RemoveMdev),
    ]
}

/// What cannot be done to the node is left undone.
fn take(node: &Node, step: Step) {
    let all = node.devices();
    let any = |index: prop::sample::Index| index.get(&all).clone();
    match step {
        Step::Unbind(device) => drop(node.unbind(&any(device))),
        Step::Bind(device, driver) => {
            let device = any(device);
            drop(node.unbind(&device));
            drop(node.bind(&device, driver));
        }
        Step::Unplug(device) => drop(node.unplug(&any(device))),
        Step::Plug(slot, together) => {
            let spec = PciSpec::new(format!("0000:90:{slot:02x}.0"), "10DE:1EB8").driver("vfio-pci");
            let spec = if together { spec.sharing_group_with(GPU) } else { spec };
            drop(node.plug(spec));
        }
        Step::Functions(count) => drop(node.set_numvfs(PF, 0).and_then(|_| node.set_numvfs(PF, count))),
        Step::Vgpu(number) => drop(node.set_vgpu_type("0000:81:00.4", number)),
        Step::RemoveMdev => drop(node.remove_mdev(UUID)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_has_happened_since_a_look_with_memory_sees_what_one_without_sees(
        before in prop::collection::vec(step(), 0..6),
        after in prop::collection::vec(step(), 0..12),
    ) {
        let (_folder, node) = node();
        let root = HostRoot::new(node.root());
        before.into_iter().for_each(|step| take(&node, step));
        let remembered = remember(&root);
        after.into_iter().for_each(|step| take(&node, step));
        let again = look_again(&root, || remembered);
        prop_assert!(again.recalled.is_some());
        prop_assert_eq!(again.scan, scan(&root));
    }
}

#[test]
fn what_has_not_changed_is_not_read_and_the_look_without_memory_finds_what_no_entry_tells() {
    let (_folder, node) = node();
    let root = HostRoot::new(node.root());
    let remembered = remember(&root);
    // As an administrator may: the kernel lets numa_node be written.
    let file = node.device_path(GPU).unwrap().join("numa_node");
    fs::write(file, "0\n").unwrap();
    let numa = |scan: &vfiod::discovery::Scan| scan.device(GPU.parse().unwrap()).unwrap().numa;
    let again = look_again(&root, || remembered);
    // All but the two virtual functions on nvidia and the mdev.
    assert_eq!(again.recalled, Some(again.scan.devices.len() - 3));
    assert_eq!(numa(&again.scan), Some(1), "its entries are the same");
    assert!(again.found.is_empty(), "what was recalled is not remembered as if it had been read");
    assert_eq!(numa(&look_again(&root, Remembered::default).scan), Some(0));
}

#[test]
fn a_member_that_cannot_be_read_keeps_its_group_from_being_remembered_as_whole() {
    let (_folder, node) = node();
    let root = HostRoot::new(node.root());
    let remembered = remember(&root);
    node.unbind(AUDIO).unwrap();
    for file in ["modalias", "vendor", "uevent"] {
        node.break_file(AUDIO, file, vfiod_simulator::node::Fault::Folder).unwrap();
    }
    let full = scan(&root);
    assert!(!full.faults.is_empty());
    assert_eq!(look_again(&root, || remembered).scan, full);
}

#[test]
fn a_file_of_another_tree_or_boot_or_of_no_use_is_not_believed() {
    let (_folder, first) = node();
    let (_other_folder, other) = node();
    let (root, other) = (HostRoot::new(first.root()), HostRoot::new(other.root()));
    let bytes = remember(&root).encode(&root).unwrap();
    assert!(Remembered::decode(&bytes, &root).is_some());
    assert!(Remembered::decode(&bytes, &other).is_none());
    assert!(Remembered::decode(b"", &root).is_none());
    assert!(Remembered::decode(&bytes[..bytes.len() / 2], &root).is_none());
    let mut rebooted = bytes;
    rebooted[4] ^= 1; // a digit of the boot's id
    assert!(Remembered::decode(&rebooted, &root).is_none());
}
