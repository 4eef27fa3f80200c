//! `vfiod devices`, as people and scripts run it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;
use vfiod_simulator::node::{MdevSpec, MdevType, Node, PciSpec, Process, ProcessSpec};

const T4: &str = "0000:3b:00.0";
const QAT: &str = "0000:af:00.0";
const NVME: &str = "0000:01:00.0";
const VGPU: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

const SEED: &str = r#"
configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: "10DE:1EB8"
      resourceName: "nvidia.com/TU104GL_Tesla_T4"
    - pciVendorSelector: "8086:6F54"
      resourceName: "intel.com/qat"
    mediatedDevices:
    - mdevNameSelector: "GRID T4-1Q"
      resourceName: "nvidia.com/GRID_T4-1Q"
"#;

/// A T4 with its audio function, a QAT that the host uses, a vGPU, and an NVMe that nobody permitted.
fn node() -> Node {
    Node::builder()
        .vfio_cdevs()
        .pci(PciSpec::new(T4, "10DE:1EB8").driver("vfio-pci").numa(1).group(12))
        .pci(PciSpec::new("0000:3b:00.1", "10DE:10F8").class(0x04_0300).sharing_group_with(T4))
        .pci(PciSpec::new(QAT, "8086:6F54").driver("c6xx").group(13))
        .pci(
            PciSpec::new("0000:d8:00.0", "10DE:1EB9")
                .driver("nvidia")
                .numa(0)
                .mdev_type(MdevType::new("nvidia-222", "GRID T4-1Q")),
        )
        .mdev(MdevSpec::new(VGPU, "0000:d8:00.0", "nvidia-222"))
        .pci(PciSpec::new(NVME, "144D:A808").driver("vfio-pci").group(14))
        .build()
        .unwrap()
}

struct Scene {
    node: Node,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { node: node(), folder: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.folder.path().join("device-plugins")).unwrap();
        scene
    }

    fn run(&self, config: Option<&str>, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod"));
        command.env_clear().arg("devices").arg("--host-root").arg(self.node.root());
        command.arg("--kubelet-dir").arg(self.folder.path()).args(args);
        command.arg("--status-socket").arg(self.folder.path().join("none.sock"));
        if let Some(text) = config {
            let file = self.folder.path().join("vfiod.yaml");
            fs::write(&file, text).unwrap();
            command.arg("--config").arg(file);
        }
        command.output().unwrap()
    }

    fn json(&self, config: Option<&str>, args: &[&str]) -> Value {
        let output = self.run(config, &[args, &["-o", "json"]].concat());
        assert_eq!(said(&output), [""; 0]);
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// What was told besides, after the line that says who is asked.
fn said(output: &Output) -> Vec<&str> {
    let mut lines = stderr(output).lines();
    let first = lines.next().unwrap_or_default();
    assert!(first.starts_with("no vfiod answers on ") && first.ends_with("what the host itself shows"), "{first}");
    lines.collect()
}

fn device<'a>(list: &'a Value, id: &str) -> &'a Value {
    list["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["id"] == id)
        .unwrap_or_else(|| panic!("{id}: {list}"))
}

fn group(list: &Value, id: u32) -> &Value {
    list["iommuGroups"].as_array().unwrap().iter().find(|group| group["id"] == id).unwrap()
}

#[test]
fn every_candidate_is_shown_bound_or_not_with_the_next_step() {
    let output = Scene::new().run(Some(SEED), &[]);
    assert!(output.status.success());
    assert_eq!(said(&output), [""; 0]);
    let lines: Vec<Vec<&str>> = stdout(&output)
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(lines[0], ["DEVICE", "RESOURCE", "TYPE", "DRIVER", "GROUP", "NUMA", "HEALTH", "OWNER", "HOLDER", "WHY"]);
    assert_eq!(
        lines[1],
        [
            QAT,
            "intel.com/qat",
            "8086:6f54",
            "c6xx",
            "13",
            "-",
            "Unhealthy",
            "-",
            "-",
            "bound to c6xx, which is not a VFIO driver; unbind it from c6xx and bind it to vfio-pci"
        ]
    );
    assert_eq!(lines[2][..3], [VGPU, "nvidia.com/GRID_T4-1Q", "GRID T4-1Q"]);
    assert_eq!(
        lines[3],
        [T4, "nvidia.com/TU104GL_Tesla_T4", "10de:1eb8", "vfio-pci", "12", "1", "Healthy", "-", "-", "ready"]
    );
    assert_eq!(lines.len(), 4);
}

#[test]
fn wide_names_the_members_of_the_group_and_the_nodes() {
    let output = Scene::new().run(Some(SEED), &["-o", "wide"]);
    let line = stdout(&output).lines().find(|line| line.starts_with(T4)).unwrap();
    assert!(line.contains("0000:3b:00.0 vfio-pci, 0000:3b:00.1 -"), "{line}");
    assert!(line.contains("/dev/vfio/12,/dev/vfio/devices/vfio0"), "{line}");
}

#[test]
fn what_is_not_permitted_is_shown_on_request_or_without_a_configuration() {
    let scene = Scene::new();
    for list in [scene.json(Some(SEED), &["--all"]), scene.json(None, &[])] {
        assert_eq!(device(&list, NVME)["resource"], Value::Null);
        assert_eq!(device(&list, NVME)["health"], "Healthy");
    }
    let ids = |list: &Value| list["devices"].as_array().unwrap().len();
    assert_eq!((ids(&scene.json(Some(SEED), &[])), ids(&scene.json(Some(SEED), &["--all"]))), (3, 4));
}

#[test]
fn json_is_what_its_document_says() {
    let scene = Scene::new();
    let list = scene.json(Some(SEED), &[]);
    assert_eq!(
        device(&list, T4),
        &json!({
            "id": T4,
            "resource": "nvidia.com/TU104GL_Tesla_T4",
            "served": true,
            "pci": { "id": "10de:1eb8", "class": "030200", "physicalFunction": null },
            "mdev": null,
            "driver": "vfio-pci",
            "vfio": true,
            "iommuGroup": 12,
            "numaNode": 1,
            "nodes": ["/dev/vfio/12", "/dev/vfio/devices/vfio0"],
            "health": "Healthy",
            "reason": "Ready",
            "message": "ready",
            "nextStep": null,
            "owner": null,
            "holders": [],
            "throughGroup": false,
            "openCount": null,
            "listedAs": T4
        })
    );
    assert_eq!(
        device(&list, VGPU)["mdev"],
        json!({ "name": "GRID T4-1Q", "type": "nvidia-222", "parent": "0000:d8:00.0" })
    );
    assert_eq!(
        group(&list, 12),
        &json!({
            "id": 12, "viable": true, "noIommu": false,
            "members": [
                { "name": T4, "driver": "vfio-pci", "viable": true },
                { "name": "0000:3b:00.1", "driver": null, "viable": true }
            ]
        })
    );
    assert_eq!(
        [&list["apiVersion"], &list["kind"], &list["source"], &list["complete"]],
        [&json!("vfiod.dev/v1"), &json!("DeviceList"), &json!("host"), &json!(true)]
    );
}

#[test]
fn every_field_of_the_json_is_documented() {
    fn fields(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                into.push(name.clone());
                fields(value, into);
            }),
            Value::Array(items) => items.iter().for_each(|item| fields(item, into)),
            _ => {}
        }
    }
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DEVICES-JSON.md")).unwrap();
    let scene = Scene::new();
    scene.owned(T4, "nvidia.com/TU104GL_Tesla_T4");
    let _holder = scene.holder(12);
    let mut names = Vec::new();
    fields(&scene.json(Some(SEED), &["--all"]), &mut names);
    for name in names {
        assert!(document.contains(&format!("`{name}`")), "docs/DEVICES-JSON.md does not describe {name}");
    }
}

#[test]
fn yaml_says_the_same_as_json_with_every_text_quoted() {
    let only =
        "permittedHostDevices: {pciHostDevices: [{pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}]}";
    let output = Scene::new().run(Some(only), &["-o", "yaml"]);
    // An address without quotes would be a number to some readers, a class of 030200 an octal one.
    assert_eq!(
        stdout(&output),
        "apiVersion: 'vfiod.dev/v1'
kind: 'DeviceList'
source: 'host'
complete: true
devices:
- id: '0000:af:00.0'
  resource: 'intel.com/qat'
  served: true
  pci:
    id: '8086:6f54'
    class: '030200'
    physicalFunction: null
  mdev: null
  driver: 'c6xx'
  vfio: false
  iommuGroup: 13
  numaNode: null
  nodes: []
  health: 'Unhealthy'
  reason: 'HostDriver'
  message: 'bound to c6xx, which is not a VFIO driver'
  nextStep: 'unbind it from c6xx and bind it to vfio-pci'
  owner: null
  holders: []
  throughGroup: false
  openCount: null
  listedAs: null
iommuGroups:
- id: 13
  viable: false
  noIommu: false
  members:
  - name: '0000:af:00.0'
    driver: 'c6xx'
    viable: false
"
    );
}

impl Scene {
    /// A process of the host that has a group open.
    fn holder(&self, group: u32) -> Process {
        let mut process = self.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
        process.open(&format!("/dev/vfio/{group}")).unwrap();
        process
    }

    /// Writes the kubelet's checkpoint: a pod has this device.
    fn owned(&self, device: &str, resource: &str) {
        let uid = "6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01";
        let entry = json!({ "PodUID": uid, "ContainerName": "compute", "ResourceName": resource,
            "DeviceIDs": { "1": [device] }, "AllocResp": "" });
        let checkpoint = json!({ "Data": { "PodDeviceEntries": [entry], "RegisteredDevices": {} }, "Checksum": 0 });
        let file = self.folder.path().join("device-plugins/kubelet_internal_checkpoint");
        fs::write(file, checkpoint.to_string()).unwrap();
        fs::create_dir_all(self.node.path(&format!("var/log/pods/vms_virt-launcher-a_{uid}"))).unwrap();
    }
}

#[test]
fn the_owner_is_named_from_the_kubelets_checkpoint() {
    let scene = Scene::new();
    scene.owned(T4, "nvidia.com/TU104GL_Tesla_T4");
    let output = scene.run(Some(SEED), &[]);
    let line = stdout(&output).lines().find(|line| line.starts_with(T4)).unwrap();
    assert!(line.contains("vms/virt-launcher-a (compute)"), "{line}");
    assert!(line.contains("Healthy"), "{line}");
    let list = scene.json(Some(SEED), &[]);
    assert_eq!(
        device(&list, T4)["owner"],
        json!({ "namespace": "vms", "pod": "virt-launcher-a", "podUid": "6f2c7f2b-1d5e-4c1f-9f43-1f2b5e7c9a01", "container": "compute" })
    );
}

#[test]
fn a_device_that_a_stranger_has_open_is_not_ready_and_he_is_named() {
    let scene = Scene::new();
    let holder = scene.holder(12);
    let list = scene.json(Some(SEED), &[]);
    let held = device(&list, T4);
    assert_eq!((&held["health"], &held["reason"]), (&json!("Unhealthy"), &json!("Held")));
    assert_eq!((&held["holders"][0]["pid"], &held["throughGroup"]), (&json!(holder.pid()), &json!(true)));
    let output = scene.run(Some(SEED), &[]);
    let line = stdout(&output).lines().find(|line| line.starts_with(T4)).unwrap();
    assert!(line.contains(&format!("{} dpdk-testpmd (group)", holder.pid())), "{line}");
}

#[test]
fn who_is_asked_can_be_chosen() {
    let scene = Scene::new();
    let output = scene.run(Some(SEED), &["--from", "host"]);
    assert_eq!(stderr(&output), "this is what the host itself shows\n");
    let output = scene.run(Some(SEED), &["--from", "daemon"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("no vfiod answers on") && stderr(&output).contains("--status-socket"));
}

#[test]
fn a_device_that_is_gone_and_still_owned_is_shown() {
    let scene = Scene::new();
    scene.owned("0000:d9:00.0", "nvidia.com/TU104GL_Tesla_T4");
    let list = scene.json(Some(SEED), &[]);
    let gone = device(&list, "0000:d9:00.0");
    assert_eq!((&gone["health"], &gone["reason"]), (&json!("Unhealthy"), &json!("Removed")));
    assert_eq!(gone["owner"]["pod"], "virt-launcher-a");
}

#[test]
fn a_group_that_is_not_viable_names_the_member_in_the_way() {
    let scene = Scene::new();
    scene.node.bind("0000:3b:00.1", "snd_hda_intel").unwrap();
    let list = scene.json(Some(SEED), &[]);
    assert_eq!(device(&list, T4)["reason"], "GroupNotViable");
    assert!(device(&list, T4)["message"].as_str().unwrap().contains("0000:3b:00.1 is bound to snd_hda_intel"));
    assert_eq!(group(&list, 12)["members"][1]["viable"], false);
}

#[test]
fn a_bad_entry_is_told_with_its_place_and_the_good_ones_are_shown() {
    let output = Scene::new().run(Some(&SEED.replace("8086:6F54", "8086")), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("vfiod.yaml:7:26: "), "{}", stderr(&output));
    assert!(stdout(&output).contains(T4) && !stdout(&output).contains(QAT), "{}", stdout(&output));
}

#[test]
fn a_configuration_that_is_no_yaml_shows_nothing() {
    let output = Scene::new().run(Some("permittedHostDevices: [}"), &[]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""));
    assert!(stderr(&output).contains("vfiod.yaml:1:"), "{}", stderr(&output));
}

#[test]
fn a_resource_without_a_device_is_told_with_what_to_compare() {
    let scene = Scene::new();
    let output = scene.run(
        Some("permittedHostDevices: {pciHostDevices: [{pciVendorSelector: '1AF4:1041', resourceName: a.com/b}]}"),
        &[],
    );
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), ""));
    assert!(
        stderr(&output).contains("no device on this host matches a.com/b (1af4:1041); compare with"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_kubevirt_serves_itself_is_shown_and_said() {
    let cr = format!(
        "kind: KubeVirt\nspec:\n{}",
        SEED.replace("\nconfig", "config").lines().map(|line| format!("  {line}\n")).collect::<String>()
    );
    let output = Scene::new().run(Some(&cr), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(T4));
    assert!(stderr(&output).contains("intel.com/qat: not served"), "{}", stderr(&output));
}

#[test]
fn a_host_that_cannot_be_read_is_a_failure_and_not_a_host_without_devices() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.node.path("sys/bus/pci/devices")).unwrap();
    fs::write(scene.node.path("sys/bus/pci/devices"), "").unwrap();
    let output = scene.run(Some(SEED), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("fault: /sys/bus/pci/devices: Not a directory"), "{}", stderr(&output));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["complete"], false);
    assert!(list["devices"].as_array().unwrap().iter().any(|device| device["id"] == VGPU), "mdevs are still shown");
}

#[test]
fn nodes_that_cannot_be_listed_are_a_failure_too() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.node.path("dev/vfio")).unwrap();
    fs::write(scene.node.path("dev/vfio"), "").unwrap();
    let output = scene.run(Some(SEED), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("fault: /dev/vfio: Not a directory"), "{}", stderr(&output));
}

#[test]
fn a_broken_device_is_told_and_the_others_are_shown() {
    let scene = Scene::new();
    for file in ["modalias", "vendor"] {
        let file = scene.node.device_path(QAT).unwrap().join(file);
        fs::remove_file(&file).unwrap();
        fs::write(&file, "garbage").unwrap();
    }
    let output = scene.run(Some(SEED), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("/sys/bus/pci/devices/0000:af:00.0/vendor"), "{}", stderr(&output));
    assert!(stdout(&output).contains(T4));
}

#[test]
fn a_kubelet_folder_that_is_not_one_leaves_owners_unknown_and_says_so() {
    let scene = Scene::new();
    fs::remove_dir(scene.folder.path().join("device-plugins")).unwrap();
    let output = scene.run(Some(SEED), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("owners are not known"), "{}", stderr(&output));
}
