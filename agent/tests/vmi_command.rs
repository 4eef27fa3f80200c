//! `vfiod vmi check`: which machines start on which node, and what is in the way of the others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;
use vfiod_simulator::node::{Node, NodeBuilder, PciSpec, ProcessSpec};

const PERMITTED: &str = "permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10DE:1EB8', resourceName: nvidia.com/GPU}
  - {pciVendorSelector: '10DE:10F8', resourceName: nvidia.com/AUDIO}
  - {pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}
  usb:
  - {resourceName: x.y/usb, selectors: [{vendor: '0951', product: '1666'}]}
";

/// A machine with entries `name=resource`.
fn machine(gpus: &[&str], host_devices: &[&str]) -> String {
    let list = |entries: &[&str]| {
        let entry = |entry: &&str| {
            let (name, resource) = entry.split_once('=').unwrap();
            format!("{{name: {name}, deviceName: {resource}}}")
        };
        entries.iter().map(entry).collect::<Vec<_>>().join(", ")
    };
    format!(
        "kind: VirtualMachineInstance\nmetadata: {{name: vm}}\nspec: {{domain: {{devices: {{gpus: [{}], hostDevices: [{}]}}}}}}\n",
        list(gpus),
        list(host_devices)
    )
}

fn gpu(bdf: &str, group: u32) -> PciSpec {
    PciSpec::new(bdf, "10DE:1EB8").driver("vfio-pci").group(group)
}

fn audio(bdf: &str, group: u32) -> PciSpec {
    PciSpec::new(bdf, "10DE:10F8").class(0x04_03_00).driver("vfio-pci").group(group)
}

fn qat(bdf: &str, group: u32) -> PciSpec {
    PciSpec::new(bdf, "8086:6F54").driver("vfio-pci").group(group)
}

struct Scene {
    node: Node,
    folder: TempDir,
}

impl Scene {
    fn new(builder: NodeBuilder) -> Self {
        let scene = Self { node: builder.build().unwrap(), folder: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.folder.path().join("device-plugins")).unwrap();
        fs::write(scene.folder.path().join("kv.yaml"), PERMITTED).unwrap();
        scene
    }

    fn run(&self, document: &str, args: &[&str]) -> Output {
        fs::write(self.folder.path().join("vmi.yaml"), document).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod"));
        command.env_clear().current_dir(&self.folder).args(["vmi", "check", "vmi.yaml", "--config", "kv.yaml"]);
        command.arg("--host-root").arg(self.node.root()).args(["--kubelet-dir", "."]).args(args);
        command.output().unwrap()
    }

    /// `name address` of a machine that starts.
    fn devices(&self, document: &str) -> Vec<String> {
        let output = self.run(document, &["-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let devices = value["machines"][0]["devices"].as_array().unwrap();
        devices.iter().map(|device| format!("{} {}", text(&device["name"]), text(&device["address"]))).collect()
    }

    /// What is said of a machine that does not start.
    fn refused(&self, document: &str, parts: &[&str]) {
        let output = self.run(document, &[]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.starts_with("VirtualMachineInstance vm would not start on this node now\n"), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in:\n{said}");
        }
    }
}

#[test]
fn a_gpu_and_its_audio_function_come_as_a_pair_in_either_list() {
    let scene = Scene::new(
        Node::builder()
            .pci(gpu("0000:3b:00.0", 11))
            .pci(audio("0000:3b:00.1", 11))
            .pci(gpu("0000:af:00.0", 12))
            .pci(audio("0000:af:00.1", 12)),
    );
    let pair = |devices: &[String]| {
        let bus = |name: &str| devices.iter().find(|device| device.starts_with(name)).unwrap()[2..12].to_owned();
        assert_eq!(bus("g"), bus("a"), "{devices:?}");
    };
    pair(&scene.devices(&machine(&["g=nvidia.com/GPU"], &["a=nvidia.com/AUDIO"])));
    pair(&scene.devices(&machine(&["a=nvidia.com/AUDIO"], &["g=nvidia.com/GPU"])));
    let both = scene
        .devices(&machine(&["g=nvidia.com/GPU", "h=nvidia.com/GPU"], &["a=nvidia.com/AUDIO", "b=nvidia.com/AUDIO"]));
    assert_eq!(both.len(), 4);
}

#[test]
fn every_device_that_is_in_the_way_is_named_with_its_reason() {
    let scene = Scene::new(
        Node::builder()
            .pci(gpu("0000:3b:00.0", 11))
            .pci(PciSpec::new("0000:3b:00.1", "10DE:10F8").class(0x04_03_00).driver("snd_hda_intel").group(11))
            .pci(PciSpec::new("0000:5e:00.0", "10DE:1EB8").driver("nvidia").group(13))
            .pci(gpu("0000:af:00.0", 12)),
    );
    scene.node.node_gone(12).unwrap();
    scene.refused(
        &machine(&["g=nvidia.com/GPU"], &[]),
        &[
            "vmi.yaml:3:34: spec.domain.devices.gpus[0]: wants 1, and of 3 devices of nvidia.com/GPU on this host 0 are free",
            "nvidia.com/GPU: 1 wanted, 0 of 3 free",
            "0000:3b:00.0: IOMMU group 11 is not viable: 0000:3b:00.1 is bound to snd_hda_intel; unbind 0000:3b:00.1",
            "0000:5e:00.0: bound to nvidia, which is not a VFIO driver",
            "0000:af:00.0: /dev/vfio/12 is missing",
        ],
    );
}

#[test]
fn a_device_that_a_stranger_has_open_is_not_free_and_the_stranger_is_named() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)).pci(qat("0000:66:00.0", 2)));
    let mut process = scene.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
    process.open("/dev/vfio/1").unwrap();
    assert_eq!(scene.devices(&machine(&[], &["a=intel.com/qat"])), ["a 0000:66:00.0"]);
    let two = machine(&[], &["a=intel.com/qat", "b=intel.com/qat"]);
    let said = format!("0000:65:00.0: held by process {} (dpdk-testpmd)", process.pid());
    scene.refused(&two, &["intel.com/qat: 2 wanted, 1 of 2 free", &said]);
    drop(process);
    assert_eq!(scene.devices(&two).len(), 2);
}

#[test]
fn too_few_devices_are_counted_against_all_entries() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)).pci(qat("0000:66:00.0", 2)));
    let three = machine(&[], &["a=intel.com/qat", "b=intel.com/qat", "c=intel.com/qat"]);
    scene.refused(
        &three,
        &["is one of 3 entries that want one each, and of 2 devices of intel.com/qat on this host 2 are free"],
    );
    scene.refused(&machine(&["g=nvidia.com/GPU"], &[]), &["this host has no device of nvidia.com/GPU"]);
}

#[test]
fn what_the_document_alone_forbids_is_told_too() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)).pci(qat("0000:66:00.0", 2)));
    scene.refused(
        &machine(&["a=intel.com/qat"], &["b=intel.com/qat"]),
        &["intel.com/qat is named by spec.domain.devices.gpus[0] too"],
    );
    scene.refused(
        &machine(&[], &["a=intel.com/QAT"]),
        &["\"intel.com/QAT\" is not permitted", "did you mean intel.com/qat?"],
    );
    scene.refused(&machine(&[], &["u=x.y/usb"]), &["x.y/usb is of USB devices, which KubeVirt serves itself"]);
}

#[test]
fn a_domain_that_virt_launcher_does_not_read_is_found_before_the_machine_is_made() {
    let scene = Scene::new(Node::builder().pci(qat("10000:65:00.0", 1)));
    scene.refused(&machine(&[], &["q=intel.com/qat"]), &["\"10000:65:00.0\"", "domain of more than four digits"]);
}

#[test]
fn a_spelling_that_virt_launcher_does_not_read_is_found_too() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)));
    fs::write(scene.folder.path().join("kv.yaml"), format!("envNames: seed\n{PERMITTED}")).unwrap();
    scene.refused(
        &machine(&[], &["q=intel.com/qat"]),
        &["PCI_RESOURCE_INTEL_COM_qat is set, which virt-launcher does not read"],
    );
}

#[test]
fn a_resource_that_somebody_else_serves_is_told_and_looked_at_all_the_same() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)));
    let entries = PERMITTED.replace('\n', "\n    ");
    let cr = format!("kind: KubeVirt\nspec:\n  configuration:\n    {entries}\n");
    fs::write(scene.folder.path().join("kv.yaml"), cr).unwrap();
    let output = scene.run(&machine(&[], &["q=intel.com/qat"]), &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("notice: spec.domain.devices.hostDevices[0]: intel.com/qat is not served"), "{said}");
    assert!(said.contains("0000:65:00.0"), "{said}");
    let all = scene.run(&machine(&[], &["q=intel.com/qat"]), &["--serve", "all"]);
    assert!(!String::from_utf8(all.stdout).unwrap().contains("notice"));
}

#[test]
fn machines_of_one_file_do_not_take_devices_from_each_other() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)));
    let one = machine(&[], &["q=intel.com/qat"]);
    let output = scene.run(&format!("{one}---\n{one}"), &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said.matches("would start on this node now").count()), (Some(0), 2), "{said}");
}

#[test]
fn a_machine_without_host_devices_starts() {
    let scene = Scene::new(Node::builder());
    let output = scene.run(&machine(&[], &[]), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("asks for no host device"));
}

#[test]
fn wrong_files_and_hosts_have_their_own_codes() {
    let scene = Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)));
    let good = machine(&[], &["q=intel.com/qat"]);
    assert_eq!(scene.run("", &[]).status.code(), Some(3));
    assert_eq!(scene.run("kind: Secret\n", &[]).status.code(), Some(3));
    assert_eq!(scene.run(&good, &["--name", "other"]).status.code(), Some(3));
    assert_eq!(scene.run(&good, &["-o", "xml"]).status.code(), Some(2));
    assert_eq!(scene.run(&good, &["--host-root", "nowhere"]).status.code(), Some(2), "named twice");
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod"));
        command.env_clear().current_dir(&scene.folder).args(["vmi", "check"]).args(args).output().unwrap()
    };
    assert_eq!(command(&["vmi.yaml"]).status.code(), Some(2), "--config is needed");
    assert_eq!(command(&["none.yaml", "--config", "kv.yaml"]).status.code(), Some(1));
    assert_eq!(command(&["vmi.yaml", "--config", "none.yaml"]).status.code(), Some(1));
    fs::write(scene.folder.path().join("kv.yaml"), "permittedHostDevices: 7\n").unwrap();
    assert_eq!(scene.run(&good, &[]).status.code(), Some(3));
}

#[test]
fn the_page_describes_every_field_of_the_json() {
    let scene =
        Scene::new(Node::builder().pci(qat("0000:65:00.0", 1)).pci(PciSpec::new("0000:66:00.0", "8086:6F54").group(2)));
    let output = scene
        .run(&format!("{}---\n{}", machine(&[], &["q=intel.com/qat"]), machine(&[], &["q=x.y/z"])), &["-o", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["kind"], "MachineCheck");
    let machine = &value["machines"][0];
    assert_eq!((&machine["starts"], &machine["resources"][0]["free"]), (&true.into(), &1.into()));
    assert_eq!(machine["resources"][0]["candidates"][1]["reason"], "DriverUnbound");
    assert_eq!(value["machines"][1]["starts"], false);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/VM.md")).unwrap();
    described(&value, &page);
}

/// Every field is on the page.
fn described(value: &Value, page: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(page.contains(&format!("`{name}`")), "docs/VM.md does not describe {name}");
                described(value, page);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| described(item, page)),
        _ => {}
    }
}
