//! What a reader of the tree sees, compared with what a kernel shows.

use std::{fs, path::Path};

use super::*;

mod faults;
mod held;
mod hotplug;
mod injection;
mod layout;
mod mdev;
mod moments;
mod recorded;
mod sriov;

fn read(node: &Node, at: &str) -> String {
    fs::read_to_string(node.path(at)).unwrap_or_else(|error| panic!("{at}: {error}"))
}

fn link(node: &Node, at: &str) -> String {
    fs::read_link(node.path(at)).unwrap_or_else(|error| panic!("{at}: {error}")).to_str().unwrap().to_owned()
}

/// Every link of the tree leads somewhere inside it.
fn assert_no_link_is_broken(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            assert!(entry.path().exists(), "{} leads nowhere", entry.path().display());
        } else if kind.is_dir() {
            assert_no_link_is_broken(&entry.path());
        }
    }
}

fn told(events: &[Uevent]) -> Vec<String> {
    events.iter().map(ToString::to_string).collect()
}

fn gpu_with_audio() -> NodeBuilder {
    Node::builder()
        .pci(PciSpec::bridge("0000:3a:00.0"))
        .pci(PciSpec::new("0000:3b:00.0", "10DE:1EB8").behind("0000:3a:00.0").driver("vfio-pci").numa(1).group(12))
        .pci(
            PciSpec::new("0000:3b:00.1", "10DE:10F8")
                .behind("0000:3a:00.0")
                .class(0x04_03_00)
                .driver("snd_hda_intel")
                .sharing_group_with("0000:3b:00.0"),
        )
}
