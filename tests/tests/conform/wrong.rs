//! A plugin that is wrong in one way fails the check of that name, and no other.

use super::bench::{Report, report};
use std::{
    collections::BTreeSet,
    fs, panic,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tempfile::TempDir;
use vfiod_simulator::node::{Node, PciSpec};
use vfiod_tests::agent::binary;

const PLUGIN: &str = env!("CARGO_BIN_EXE_wrong-plugin");
/// Faults that are tried at the same time: most of the time they are waited for.
const AT_ONCE: usize = 16;
/// How long a plugin may take. A fault that is something missing takes as long to be noticed.
const TIMEOUT: &str = "15s";

/// The host on which the plugin believes to be.
fn host() -> Node {
    let card = |number: u32| {
        let spec = PciSpec::new(format!("0000:3b:{:02x}.{}", number / 8, number % 8), "8086:6F54");
        let spec = spec.driver("vfio-pci").group(100 + number);
        if number == 1 { spec } else { spec.numa(0) }
    };
    let node = (0..20).fold(Node::builder(), |builder, number| builder.pci(card(number))).build().unwrap();
    fs::write(node.root().join("dev/iommu"), "").unwrap();
    node
}

/// What is found of the plugin with this fault; its cards break and are mended if that is what the fault is about.
fn found(host: &Node, fault: Option<&str>, breaks: bool) -> Report {
    let folder = TempDir::new().unwrap();
    let changes = folder.path().join("changes").display().to_string();
    let fault = fault.map(|fault| format!(" --fault {fault}")).unwrap_or_default();
    let command = format!("exec {PLUGIN} --dir {{dir}} --changes {changes}{fault}");
    let (down, up) = (format!("echo down >> {changes}"), format!("echo up >> {changes}"));
    let root = host.root().display().to_string();
    let mut arguments = vec!["--command", &command, "--host-root", &root, "--timeout", TIMEOUT];
    if fault.ends_with("endpoint:late") {
        // Each process takes the kubelet's 10 s.
        arguments.extend(["--skip", "restart,stop"]);
    }
    if breaks {
        arguments.extend(["--break", &down, "--mend", &up]);
    }
    report(&arguments)
}

/// The faults that the plugin has.
fn faults() -> Vec<String> {
    let output = Command::new(PLUGIN).args(["--dir", "/", "--fault", "?"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, list) = text.split_once("one of ").unwrap_or_else(|| panic!("{text}"));
    let list = list.lines().next().unwrap();
    list.split(", ").map(str::to_owned).collect()
}

/// The checks that vfiod has.
fn checks() -> BTreeSet<String> {
    let output = Command::new(binary()).args(["conform", "--list-checks"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn check_of(fault: &str) -> &str {
    fault.split(':').next().unwrap()
}

/// What is wrong with what is said of a fault.
fn misjudged(host: &Node, fault: &str) -> Option<String> {
    let check = check_of(fault);
    let breaks = ["health", "storm", "slow"].iter().any(|group| check.starts_with(group));
    let report = found(host, Some(fault), breaks);
    let failed = report.with_outcome("failed");
    (failed != [check] || report.code != 1).then(|| format!("--fault {fault} fails {failed:?}: {}", report.told()))
}

#[test]
fn a_plugin_without_a_fault_keeps_every_convention() {
    let report = found(&host(), None, true);
    assert_eq!(report.with_outcome("passed").len(), report.len(), "{}", report.told());
    assert_eq!(report.code, 0);
}

#[test]
fn there_is_a_fault_for_every_check() {
    let of_faults: BTreeSet<String> = faults().iter().map(|fault| check_of(fault).to_owned()).collect();
    assert_eq!(of_faults, checks());
}

#[test]
fn each_fault_fails_the_check_of_its_name_and_no_other() {
    let (host, faults, next) = (host(), faults(), AtomicUsize::new(0));
    let work = || {
        let mut wrong = Vec::new();
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(panic::catch_unwind(|| misjudged(&host, fault)).unwrap_or_else(|_| Some(fault.clone())));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
