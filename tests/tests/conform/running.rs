//! A plugin that runs already, and a check that is interrupted.

use super::bench::{conform, report};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use vfiod_simulator::{
    kubelet::Kubelet,
    node::{Node, PciSpec},
};
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

const QAT: &str = "intel.com/qat";
const CONFIG: &str =
    "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '8086:6F54', resourceName: intel.com/qat}\n";

#[tokio::test]
async fn a_running_plugin_is_checked_without_what_takes_a_restart_and_keeps_its_kubelet() {
    let card = |bdf: &str, group| PciSpec::new(bdf, "8086:6F54").driver("vfio-pci").group(group);
    let node = Node::builder().pci(card("0000:01:00.0", 1)).pci(card("0000:02:00.0", 2)).build().unwrap();
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), CONFIG).start().unwrap();
    kubelet.wait_for("two devices", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let sockets = fs::read_dir(kubelet.plugin_dir()).unwrap().map(|entry| entry.unwrap().path());
    let socket = sockets.into_iter().find(|path| path.to_string_lossy().contains("vfiod-")).unwrap();
    let root = node.root().display().to_string();
    let socket = socket.to_str().unwrap().to_owned();

    // Elsewhere, so that the kubelet of this thread goes on.
    let checked = spawn_blocking(move || {
        let arguments = [socket.as_str(), "--resource", QAT, "--host-root", &root];
        let of = |format| String::from_utf8(conform(&[&arguments[..], &["-o", format]].concat()).stdout).unwrap();
        (report(&arguments), of("text"), of("junit"))
    });
    let (found, text, xml) = checked.await.unwrap();
    assert_eq!(found.code, 0, "{}", found.told());
    let not_checked = found.with_outcome("not-checked");
    let taken_out = ["registration.", "options.same", "health.", "storm.", "slow.backlog", "restart.", "stop."];
    assert!(not_checked.iter().all(|name| taken_out.iter().any(|out| name.starts_with(out))), "{}", found.told());
    assert_eq!(found.with_outcome("passed").len() + not_checked.len(), found.len(), "{}", found.told());
    assert_eq!(kubelet.allocatable(QAT), 2, "the kubelet's own stream is left alone");

    assert!(text.contains("intel.com/qat: 2 devices, 2 healthy") && text.contains(" 0 failed, "), "{text}");
    assert_eq!(xml.matches("<testcase ").count(), found.len(), "{xml}");
}

#[test]
fn a_check_that_is_interrupted_leaves_no_plugin_and_no_folder_behind() {
    let folder = TempDir::new().unwrap();
    let (note, temporary) = (folder.path().join("pid"), folder.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    let command = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", note.display());
    let mut check = Command::new(binary());
    check.args(["conform", "--command", &command]).env("TMPDIR", &temporary).stderr(Stdio::null());
    let mut check = check.spawn().unwrap();
    let begun = Instant::now();
    while !note.exists() {
        assert!(begun.elapsed() < PATIENCE, "the plugin was not started");
        sleep(Duration::from_millis(5));
    }
    let plugin = Pid::from_raw(fs::read_to_string(&note).unwrap().trim().parse().unwrap()).unwrap();
    kill_process(Pid::from_child(&check), Signal::INT).unwrap();
    assert_eq!(check.wait().unwrap().code(), Some(1));
    assert!(test_kill_process(plugin).is_err(), "the plugin is gone");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}
