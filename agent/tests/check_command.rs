//! `vfiod check` as a script sees it: exit codes, stdin, and which stream says what.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a failure is the message")]

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

const SEED: &str = "configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: \"10DE:1EB8\"
      resourceName: \"nvidia.com/TU104GL_Tesla_T4\"
";

fn check(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vfiod"))
        .arg("check")
        .args(arguments)
        .env_remove("VFIOD_SERVE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing.
    _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_good_file_is_summed_up_on_stdout_and_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vfiod.yaml");
    std::fs::write(&file, SEED).unwrap();
    let output = check(&[file.to_str().unwrap()], "");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains("sets     PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4\n"));
}

#[test]
fn stdin_is_read_for_a_dash_and_a_bad_entry_exits_3() {
    let output = check(&["-"], &SEED.replace("10DE:1EB8", "10DE"));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("<stdin>:4:26: configuration.permittedHostDevices."), "{output:?}");
}

#[test]
fn a_file_that_is_missing_exits_1_and_a_wrong_mode_2() {
    let output = check(&["/nonexistent/vfiod.yaml"], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("/nonexistent/vfiod.yaml: cannot be read: No such file"), "{output:?}");
    assert_eq!(check(&["-", "--serve", "some"], SEED).status.code(), Some(2));
}

#[test]
fn the_mode_decides_what_is_said_to_be_served() {
    let output = check(&["-", "--serve", "external"], SEED);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("<stdin>: 1 permitted, 0 served"), "{output:?}");
    assert!(text(&output.stderr).contains("--serve all"), "{output:?}");
}
