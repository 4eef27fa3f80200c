//! The demo as a newcomer runs it, on a small node: what it says, how it ends, what it leaves behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};
use tempfile::TempDir;
use vfiod_tests::agent::{PATIENCE, binary};

/// A demo that puts everything into `folder`.
fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod-demo"));
    command.args(["--pci", "64", "--mdevs", "20", "--repeat", "3"]).env("TMPDIR", folder).env("VFIOD_BIN", binary());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// No file below `folder`, and no process that was started with a path below it.
fn assert_nothing_is_left(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    let folder = folder.to_str().unwrap();
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let running: Vec<String> = processes.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect();
    assert!(!running.iter().any(|line| line.contains(folder)), "{running:?}");
}

#[test]
fn the_whole_story_is_told_on_80_columns_without_colour_and_nothing_is_left_behind() {
    let folder = TempDir::new().unwrap();
    let output = demo(folder.path()).output().unwrap();
    let told = stdout(&output);
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("", Some(0)), "{told}");
    for line in [
        "1 An administrator permits devices",
        "permit.yaml: 3 permitted, 3 served (--serve auto)",
        "PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4=0000:01:00.0",
        "/dev/vfio/vfio   /dev/vfio/vfio   mrw",
        "is missing",
        "node back, device Healthy",
        "vm-b wants the audio: admitted, its container is held back:",
        "Unavailable: 0000:00:10.1 cannot be used: pod default/vm-a, container",
        "0000:00:10.1 Healthy: owned by pod default/vm-b, container compute",
        "gets the pair: 0000:00:10.0 and",
        "kubelet restarted: every device listed",
        "Everything came out as told.",
    ] {
        assert!(told.contains(line), "{line:?} is missing in:\n{told}");
    }
    // 64 PCI functions: 16 QATs, 2 that carry 20 vGPUs, the card with two functions, and T4s.
    let capacity = |resource: &str| {
        let line = told.lines().find(|line| line.trim_start().starts_with(resource) && line.contains("ms"));
        line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned)
    };
    let capacities = ["nvidia.com/TU104GL_Tesla_T4", "intel.com/qat", "nvidia.com/GRID_T4-1Q"].map(capacity);
    assert_eq!(capacities.map(Option::unwrap), ["44", "16", "20"], "{told}");
    let wide: Vec<&str> = told.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(!told.contains('\u{1b}'), "colour in what is no terminal");
    assert!(!told.contains(folder.path().to_str().unwrap()), "a temporary path:\n{told}");
    assert_nothing_is_left(folder.path());
}

#[test]
fn a_signal_ends_it_at_once_with_its_processes_and_its_files() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = TempDir::new().unwrap();
        let mut child = demo(folder.path()).spawn().unwrap();
        read_until(&mut child, "4 Devices disappear");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains("interrupted"), "{}", stderr(&output));
        assert_nothing_is_left(folder.path());
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let folder = TempDir::new().unwrap();
    let mut child = demo(folder.path()).spawn().unwrap();
    read_until(&mut child, "1 An administrator");
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("", Some(1)));
    assert_nothing_is_left(folder.path());
}

#[test]
fn a_scene_that_fails_is_named_with_the_reason_and_the_log() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("vfiod");
    fs::write(&script, "#!/bin/sh\n[ $1 = run ] || exit 0\necho out of luck >&2\nexit 7\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let rest = TempDir::new().unwrap();
    let output = demo(rest.path()).env("VFIOD_BIN", &script).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in ["FAILED in scene 2", "vfiod starts", "vfiod has ended", "Tesla_T4", "| out of luck"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    assert_nothing_is_left(rest.path());
}

#[test]
fn a_node_that_cannot_be_is_refused_with_what_would_do() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfiod-demo"));
    let output = command.args(["--pci", "64", "--mdevs", "8000"]).env("TMPDIR", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("raise --pci"), "{}", stderr(&output));
    assert_nothing_is_left(folder.path());
}

/// Reads lines from the demo until one contains `text`, and goes on reading beside it.
fn read_until(child: &mut Child, text: &str) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before {text:?}");
    }
    child.stdout = Some(lines.into_inner());
}
