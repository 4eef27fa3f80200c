//! What `vfiod hostdev` writes, inside a whole domain, against libvirt's own schema.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    process::{Command, Stdio},
};
use tempfile::TempDir;
use vfiod_tests::agent::binary;

/// Whether the validator is there; where a skip is not allowed, its absence is a failure.
fn validator() -> bool {
    let found = |program: &str| {
        let asked = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = ["virt-xml-validate", "xmllint"].into_iter().filter(|program| !found(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let why = format!(
        "{} missing; `cargo xtask test tests` installs them, or `apt-get install libvirt-clients libxml2-utils`",
        missing.join(", ")
    );
    assert!(env::var_os("VFIOD_NO_SKIP").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
    false
}

/// The elements of `hostdev` for a machine in an environment.
fn elements(machine: &str, env: &str) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("vmi.json"), machine).unwrap();
    fs::write(folder.path().join("env"), env).unwrap();
    let output = Command::new(binary())
        .env_clear()
        .current_dir(&folder)
        .args(["hostdev", "--vmi", "vmi.json", "--env", "env"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A domain with these devices.
fn domain(devices: &str) -> String {
    format!(
        "<domain type=\"kvm\">\n<name>vms_gpu</name>\n<memory unit=\"MiB\">1024</memory>\n<os><type arch=\"x86_64\" \
         machine=\"q35\">hvm</type></os>\n<devices>\n{devices}</devices>\n</domain>\n"
    )
}

/// What the validator says of a document; nothing where it is right.
fn faults(domain: &str) -> Option<String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("domain.xml");
    fs::write(&file, domain).unwrap();
    let output = Command::new("virt-xml-validate").arg(&file).arg("domain").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

const MACHINE: &str = r#"{"kind": "VirtualMachineInstance", "spec": {"domain": {"devices": {
  "gpus": [
    {"name": "gpu1", "deviceName": "nvidia.com/TU104GL_Tesla_T4"},
    {"name": "gpu2", "deviceName": "nvidia.com/GRID_T4-1Q"},
    {"name": "gpu3", "deviceName": "nvidia.com/GRID_T4-1Q"}
  ],
  "hostDevices": [
    {"name": "quickaccess1", "deviceName": "intel.com/qat"},
    {"name": "slice", "deviceName": "intel.com/vqat"},
    {"name": "stick", "deviceName": "kingston.com/usb"}
  ]}}}}"#;

const ENV: &str = "PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4=00ab:3b:1f.7
MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001,83b8f4f2-509f-382f-3c1e-e6bfe0fa1002
PCI_RESOURCE_INTEL_COM_QAT=0000:65:00.0,
MDEV_PCI_RESOURCE_INTEL_COM_VQAT=83b8f4f2-509f-382f-3c1e-e6bfe0fa1003
USB_RESOURCE_KINGSTON_COM_USB=3:127
";

#[test]
fn every_kind_of_device_is_an_element_that_libvirt_takes() {
    if !validator() {
        return;
    }
    let devices = elements(MACHINE, ENV);
    assert_eq!(devices.matches("<hostdev ").count(), 6, "{devices}");
    for expected in ["type=\"pci\"", "type=\"mdev\"", "type=\"usb\"", "display=\"on\" ramfb=\"on\""] {
        assert!(devices.contains(expected), "{expected}: {devices}");
    }
    assert_eq!(faults(&domain(&devices)), None, "{devices}");
}

#[test]
fn a_display_without_a_ramfb_is_taken_too() {
    if !validator() {
        return;
    }
    let machine = MACHINE.replace(
        r#""name": "gpu2","#,
        r#""name": "gpu2", "virtualGPUOptions": {"display": {"ramFB": {"enabled": false}}},"#,
    );
    let devices = elements(&machine, ENV);
    assert!(devices.contains("display=\"on\">") && !devices.contains("ramfb"), "{devices}");
    assert_eq!(faults(&domain(&devices)), None, "{devices}");
}

#[test]
fn the_validator_would_find_a_fault() {
    if !validator() {
        return;
    }
    let devices = elements(MACHINE, ENV);
    for (right, wrong) in
        [("function=\"0x7\"", "function=\"0x8\""), ("ramfb=\"on\"", "ramfb=\"yes\""), ("source>", "origin>")]
    {
        let broken = devices.replace(right, wrong);
        assert_ne!(broken, devices);
        assert_ne!(faults(&domain(&broken)), None, "{broken}");
    }
}
