//! `vfiod hostdev`, as people and scripts run it: right and wrong input, exit codes, what goes where.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a failure is the message"
)]

use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const VMI: &str = "kind: VirtualMachineInstance
metadata: {name: gpu, namespace: vms}
spec:
  domain:
    devices:
      hostDevices:
      - {name: q, deviceName: intel.com/qat}
";

const ENV: &str = "PCI_RESOURCE_INTEL_COM_QAT=0000:65:00.0\n";

/// A folder of files, and the binary in it.
struct Desk(TempDir);

impl Desk {
    fn new(vmi: &str, env: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("vmi.yaml", vmi);
        desk.write("env", env);
        desk
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod"));
        command.env_clear().current_dir(&self.0).arg("hostdev").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// With the files of the desk.
    fn hostdev(&self, args: &[&str]) -> Output {
        self.run(&[&["--vmi", "vmi.yaml", "--env", "env"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.hostdev(&[args, &["-o", "json"]].concat()).stdout).unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Nothing on stdout, this exit code, and a message with all of these.
fn refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!((output.status.code(), stdout(output).as_str()), (Some(code), ""), "{}", stderr(output));
    for part in parts {
        assert!(stderr(output).contains(part), "{part:?} is missing in: {}", stderr(output));
    }
}

#[test]
fn a_machine_that_starts_is_data_on_stdout_and_nothing_else() {
    let output = Desk::new(VMI, ENV).hostdev(&[]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(stdout(&output).starts_with("<hostdev type=\"pci\" managed=\"no\">\n"), "{}", stdout(&output));
}

#[test]
fn the_environment_of_the_process_counts_where_no_file_is_named() {
    let desk = Desk::new(VMI, "");
    let output =
        desk.command(&["--vmi", "vmi.yaml", "-o", "qemu"]).env("PCI_RESOURCE_INTEL_COM_QAT", "0000:65:00.0,").output();
    assert_eq!(stdout(&output.unwrap()), "-device vfio-pci,host=0000:65:00.0,id=ua-hostdevice-q\n");
    refused(&desk.run(&["--vmi", "vmi.yaml"]), 4, &["PCI_RESOURCE_INTEL_COM_QAT", "would not start"]);
}

#[test]
fn either_file_may_come_from_stdin_but_not_both() {
    let desk = Desk::new(VMI, ENV);
    for (args, text) in [(["--vmi", "-", "--env", "env"], VMI), (["--vmi", "vmi.yaml", "--env", "-"], ENV)] {
        let mut child = desk.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && stdout(&output).contains("ua-hostdevice-q"), "{args:?}");
    }
    refused(&desk.run(&["--vmi", "-", "--env", "-"]), 2, &["not both"]);
}

#[test]
fn a_file_that_cannot_be_read_is_code_1_and_names_the_flag() {
    let desk = Desk::new(VMI, ENV);
    refused(&desk.run(&["--vmi", "none.yaml"]), 1, &["none.yaml: cannot be read: No such file", "--vmi"]);
    refused(&desk.run(&["--vmi", "vmi.yaml", "--env", "none"]), 1, &["none: cannot be read", "--env"]);
    refused(&desk.hostdev(&["--config", "none.yaml"]), 1, &["none.yaml: cannot be read", "--config"]);
    refused(&desk.run(&["--vmi", "."]), 1, &[".: cannot be read"]);
}

#[test]
fn a_document_that_is_wrong_is_code_3_with_line_and_column() {
    for (document, parts) in [
        ("", ["vmi.yaml:1:1: ", "the document is empty"]),
        ("a: [", ["vmi.yaml:2:1: ", "syntax error"]),
        ("\u{0}", ["vmi.yaml:1:", ""]),
        ("kind: Secret\n", ["vmi.yaml:1:1: ", "there is no virtual machine in it, only a Secret"]),
        ("kind: VirtualMachineInstance\nspec: [1]\n", ["vmi.yaml:2:7: ", "spec: is a list"]),
        (
            "kind: VirtualMachineInstance\nspec: {domain: {devices: {gpus: {a: b}}}}\n",
            ["vmi.yaml:2:33: ", "is a mapping"],
        ),
    ] {
        let output = Desk::new(document, ENV).hostdev(&[]);
        refused(&output, 3, &parts);
    }
    let desk = Desk::new(VMI, ENV);
    desk.write("vmi.yaml", b"kind: \xff\n");
    refused(&desk.hostdev(&[]), 3, &["vmi.yaml:1:7: the document is not UTF-8 text"]);
    desk.write("vmi.yaml", "#".repeat(5 << 20));
    refused(&desk.hostdev(&[]), 3, &["longer than"]);
    desk.write("vmi.yaml", VMI);
    desk.write("env", "not an environment\n");
    refused(&desk.hostdev(&[]), 3, &["env: line 1: ", "NAME=VALUE"]);
}

#[test]
fn a_machine_whose_document_is_wrong_has_no_elements_and_the_others_have() {
    let broken = VMI
        .replace("name: gpu", "name: broken")
        .replace("      - {name: q", "      - {deviceName: x.y/z}\n      - {name: q");
    let desk = Desk::new(&format!("{broken}---\n{}", VMI.replace("name: q", "name: good")), ENV);
    let output = desk.hostdev(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stdout(&output).matches("<hostdev").count(), 1, "{}", stdout(&output));
    assert!(
        stderr(&output).contains("vmi.yaml:7:9: spec.domain.devices.hostDevices[0].name: is missing"),
        "{}",
        stderr(&output)
    );
    let value = desk.json(&[]);
    assert_eq!((&value["machines"][0]["starts"], &value["machines"][1]["starts"]), (&false.into(), &true.into()));
    assert_eq!(value["problems"][0]["path"], "spec.domain.devices.hostDevices[0].name");
}

#[test]
fn a_bad_configuration_is_code_3_and_one_bad_entry_leaves_the_devices() {
    let desk = Desk::new(VMI, ENV);
    desk.write("kv.yaml", "permittedHostDevices: 7\n");
    refused(&desk.hostdev(&["--config", "kv.yaml"]), 3, &["kv.yaml:1:23: "]);
    let good = "{pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}";
    desk.write(
        "kv.yaml",
        format!("permittedHostDevices:\n  pciHostDevices:\n  - {good}\n  - {{resourceName: x.y/z}}\n"),
    );
    let output = desk.hostdev(&["--config", "kv.yaml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).contains("ua-hostdevice-q") && stderr(&output).contains("kv.yaml:4:5: "), "{output:?}");
}

#[test]
fn a_machine_that_would_not_start_is_code_4_and_names_entry_and_variable() {
    let two = VMI.replace("      - {name: q", "      - {name: p, deviceName: intel.com/qat}\n      - {name: q");
    let output = Desk::new(&two, ENV).hostdev(&[]);
    refused(
        &output,
        4,
        &[
            "vmi.yaml:8:9: spec.domain.devices.hostDevices[1]: gets no device: PCI_RESOURCE_INTEL_COM_QAT holds 1 address, and \
             2 entries of hostDevices want one each",
            "vfiod: vmi.yaml: would not start: VirtualMachineInstance vms/gpu",
        ],
    );
    let desk = Desk::new(VMI, "PCI_RESOURCE_INTEL_COM_QAT=10000:65:00.0\n");
    refused(&desk.hostdev(&[]), 4, &["domain of more than four digits", "VMD"]);
    let unpermitted = Desk::new(VMI, ENV);
    unpermitted.write("kv.yaml", "permittedHostDevices: {}\n");
    refused(&unpermitted.hostdev(&["--config", "kv.yaml"]), 4, &["\"intel.com/qat\" is not permitted"]);
}

#[test]
fn machines_of_one_file_stand_below_their_names_and_one_can_be_picked() {
    let other = VMI.replace("name: gpu", "name: 'second--one'").replace("name: q", "name: r");
    let broken = VMI.replace("name: gpu", "name: third").replace("intel.com/qat", "x.y/z");
    let desk = Desk::new(&format!("{VMI}---\nkind: Secret\n---\n{other}---\n{broken}"), ENV);
    let output = desk.hostdev(&[]);
    assert_eq!(output.status.code(), Some(4));
    let text = stdout(&output);
    assert!(text.starts_with("<!-- VirtualMachineInstance vms/gpu -->\n<hostdev"), "{text}");
    assert!(text.contains("<!-- VirtualMachineInstance vms/second- -one -->\n<hostdev"), "{text}");
    assert!(!text.contains("third"), "what would not start has no elements: {text}");
    assert!(stderr(&output).contains("would not start: VirtualMachineInstance vms/third"), "{}", stderr(&output));
    for name in ["gpu", "vms/gpu"] {
        let one = desk.hostdev(&["--name", name]);
        assert_eq!((one.status.code(), stdout(&one).matches("<hostdev").count()), (Some(0), 1), "{name}");
    }
    refused(
        &desk.hostdev(&["--name", "other/gpu"]),
        3,
        &["has no machine \"other/gpu\"; it has VirtualMachineInstance vms/gpu"],
    );
}

#[test]
fn json_says_everything_and_the_page_describes_every_field() {
    let desk = Desk::new(&format!("{VMI}      - {{name: r, deviceName: x.y/z}}\n      tpm: {{}}\n"), ENV);
    let value = desk.json(&[]);
    let machine = &value["machines"][0];
    assert_eq!(
        (&value["kind"], &machine["starts"], &machine["name"]),
        (&"HostDeviceList".into(), &false.into(), &"gpu".into())
    );
    assert_eq!(machine["requests"][1]["paths"][0], "spec.domain.devices.hostDevices[1]");
    assert_eq!(machine["devices"][0]["variable"], "PCI_RESOURCE_INTEL_COM_QAT");
    assert_eq!((&machine["problems"][0]["line"], &machine["problems"][0]["value"]), (&8.into(), &Value::Null));
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

#[test]
fn a_flag_that_is_wrong_is_code_2() {
    let desk = Desk::new(VMI, ENV);
    for args in [&["-o", "yaml"][..], &["--spelling", "any"], &["--nonsense"]] {
        assert_eq!(desk.hostdev(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(desk.run(&[]).status.code(), Some(2), "--vmi is needed");
}
