//! The node beside a kernel: Debian's 6.1.192 in QEMU, with an emulated Intel IOMMU, `edu` devices, an NVMe controller with
//! virtual functions and the sample driver mtty, was taken through the same steps. `linux-6.1.events.txt` holds what it
//! sent (subsystems pci, vfio, vfio-dev and mdev, without MAJOR and SEQNUM), `linux-6.1.files.txt` what a listing of the
//! folders showed.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use super::*;

const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

fn edu(bdf: &str) -> PciSpec {
    PciSpec::new(bdf, "1234:11E8").subsystem("1AF4:1100").class(0x00_ff_00)
}

fn root_port(bdf: &str) -> PciSpec {
    PciSpec::bridge(bdf).id("1B36:000C").subsystem("1B36:0000")
}

fn machine() -> Node {
    Node::builder()
        .pci(PciSpec::new("0000:00:00.0", "8086:29C0").class(0x06_00_00).group(0))
        .pci(edu("0000:00:04.0").group(1))
        .pci(edu("0000:00:06.0").group(2))
        .pci(edu("0000:00:06.1").group(2))
        .pci(root_port("0000:00:08.0").group(3))
        .pci(root_port("0000:00:09.0").group(4))
        .pci(PciSpec::new("0000:00:1f.0", "8086:2918").class(0x06_01_00).group(5))
        .pci(edu("0000:01:00.0").behind("0000:00:08.0").group(6))
        .pci(
            PciSpec::new("0000:02:00.0", "1B36:0010")
                .subsystem("1AF4:1100")
                .class(0x01_08_02)
                .behind("0000:00:09.0")
                .group(7)
                .sriov(Sriov::new(4, 0x0010).offset(1, 1).vf_driver("vfio-pci")),
        )
        .virtual_parent(
            VirtualParent::new("mtty", "mtty").mdev_type(MdevType::new("mtty-1", "Single port serial").available(24)),
        )
        .build()
        .unwrap()
}

/// The parts of a recording, each with its title.
fn parts(recording: &str) -> Vec<(&str, Vec<&str>)> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in recording.lines() {
        match line.strip_prefix("== ") {
            Some(title) => parts.push((title, Vec::new())),
            None => parts.last_mut().unwrap().1.push(line),
        }
    }
    parts
}

#[test]
fn the_events_are_those_of_a_kernel() {
    let node = machine();
    let mdev = || MdevSpec::new(UUID, "mtty", "mtty-1").driver("mtty");
    let mut steps: Vec<(&str, Vec<Uevent>)> = Vec::new();
    let mut step = |title, events: Vec<Result<Vec<Uevent>, NodeError>>| {
        steps.push((title, events.into_iter().flat_map(Result::unwrap).collect()));
    };
    step("bind 0000:00:04.0", vec![node.bind("0000:00:04.0", "vfio-pci")]);
    step("unbind 0000:00:04.0", vec![node.unbind("0000:00:04.0")]);
    step("bind 0000:00:04.0 again", vec![node.bind("0000:00:04.0", "vfio-pci")]);
    step("remove 0000:00:04.0", vec![node.unplug("0000:00:04.0")]);
    step("rescan", vec![node.plug(edu("0000:00:04.0"))]);
    step(
        "bind both functions of 0000:00:06, unbind 0000:00:06.0",
        vec![node.bind("0000:00:06.0", "vfio-pci"), node.bind("0000:00:06.1", "vfio-pci"), node.unbind("0000:00:06.0")],
    );
    step("unbind 0000:00:06.1", vec![node.unbind("0000:00:06.1")]);
    step("create an mdev", vec![node.create_mdev(mdev())]);
    step("remove the mdev", vec![node.remove_mdev(UUID)]);
    step("bind the physical function", vec![node.bind("0000:02:00.0", "vfio-pci")]);
    step("2 virtual functions", vec![node.set_numvfs("0000:02:00.0", 2)]);
    step("0 virtual functions", vec![node.set_numvfs("0000:02:00.0", 0)]);
    step("2 virtual functions again", vec![node.set_numvfs("0000:02:00.0", 2)]);
    step("unbind the physical function", vec![node.unbind("0000:02:00.0")]);
    step("bind 0000:01:00.0", vec![node.bind("0000:01:00.0", "vfio-pci")]);
    step("remove the root port 0000:00:08.0", vec![node.unplug("0000:00:08.0")]);

    let recorded = parts(include_str!("linux-6.1.events.txt"));
    assert_eq!(recorded.len(), steps.len());
    for ((title, kernel), (step, node)) in recorded.into_iter().zip(steps) {
        assert_eq!(title, step);
        // The recording begins with the drivers loaded.
        let node: Vec<_> = node.iter().filter(|event| event.subsystem != "drivers").map(line).collect();
        assert_eq!(node, kernel, "{title}");
    }
}

fn line(event: &Uevent) -> String {
    let mut line = format!("{event} SUBSYSTEM={}", event.subsystem);
    for (key, value) in event.properties.iter().filter(|(key, _)| *key != "MAJOR") {
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

/// Links that lead to what the node does not have: ACPI, and the IOMMU's own device.
const FOREIGN_LINKS: [&str; 2] = ["firmware_node", "iommu"];

#[test]
fn every_link_is_there_and_no_file_is_invented() {
    let node = machine();
    node.bind("0000:00:04.0", "vfio-pci").unwrap();
    for (folder, kernel) in parts(include_str!("linux-6.1.files.txt")) {
        if folder.contains("mdev") && node.group_of(UUID).is_none() {
            // The mdev was listed when it was the only device with VFIO.
            node.unbind("0000:00:04.0").unwrap();
            node.create_mdev(MdevSpec::new(UUID, "mtty", "mtty-1").driver("mtty")).unwrap();
        }
        let kernel: BTreeSet<String> = kernel.into_iter().map(str::to_owned).collect();
        let deep = kernel.iter().any(|line| line.split(' ').nth(1).unwrap().contains('/'));
        let mut shown = BTreeSet::new();
        list(&node.path(folder), "", deep, &mut shown);
        let invented: Vec<_> = shown.difference(&kernel).collect();
        assert!(invented.is_empty(), "{folder}: {invented:?}");
        let missing: Vec<_> = kernel
            .difference(&shown)
            .filter(|line| line.starts_with("L ") && !FOREIGN_LINKS.contains(&line.split(' ').nth(1).unwrap()))
            .collect();
        assert!(missing.is_empty(), "{folder}: {missing:?}");
    }
}

/// Writes down a folder as the recording does: kind, name, and a link's text or a file's mode.
fn list(folder: &Path, above: &str, deep: bool, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.unwrap();
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            lines.insert(format!("L {name} -> {}", fs::read_link(entry.path()).unwrap().display()));
        } else if kind.is_dir() {
            lines.insert(format!("D {name}"));
            if deep {
                list(&entry.path(), &format!("{name}/"), deep, lines);
            }
        } else {
            lines.insert(format!("F {name} {:o}", entry.metadata().unwrap().permissions().mode() & 0o777));
        }
    }
}
