//! What breaks on a node: one thing at a time, and nothing else with it.

use crate::scene::*;
use rustix::{
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount},
    process::{Pid, Resource, Rlimit, getrlimit, prlimit},
    thread::{UnshareFlags, unshare_unsafe},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, PodSpec},
    node::{Fault, Node},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const BROKEN: &str = "0000:3b:00.0";
const SOUND: &str = "0000:3c:00.0";

async fn started(node: &Node, folder: &TempDir) -> (Kubelet, Agent) {
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let agent = Agent::builder(node.root(), folder.path(), &usual_config()).flag("--rescan", "200ms").start().unwrap();
    (kubelet, agent)
}

/// Whether a file is asked only where `modalias`, which says the same, cannot be read.
fn needs_modalias_gone(file: &str) -> bool {
    ["vendor", "device"].contains(&file)
}

fn break_it(node: &Node, file: &str, fault: Fault) {
    if needs_modalias_gone(file) {
        node.break_file(BROKEN, "modalias", Fault::Garbage).unwrap();
    }
    node.break_file(BROKEN, file, fault).unwrap();
}

#[tokio::test]
async fn a_broken_device_costs_only_itself_and_is_served_when_it_is_mended() {
    for (file, fault) in [
        ("uevent", Fault::Folder),
        ("uevent", Fault::Empty),
        ("uevent", Fault::Garbage),
        ("uevent", Fault::Huge(1 << 40)),
        ("modalias", Fault::Garbage),
        ("vendor", Fault::Folder),
        ("device", Fault::Garbage),
        ("driver", Fault::Loop),
        ("iommu_group", Fault::Gone),
        ("numa_node", Fault::Garbage),
        ("numa_node", Fault::Folder),
        ("vfio-dev", Fault::Dangling),
        ("", Fault::Gone),
    ] {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        break_it(&node, file, fault);
        let (kubelet, mut agent) = started(&node, &folder).await;
        let sound = |state: &vfiod_simulator::kubelet::State| state.health(QAT, SOUND) == Some(Health::Healthy);
        kubelet.wait_for(&format!("the sound one beside {file} {fault:?}"), PATIENCE, sound).await.unwrap();
        let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
        kubelet.start_container(pod.uid(), "compute").await.unwrap();
        node.mend(BROKEN, file).unwrap();
        if needs_modalias_gone(file) {
            node.mend(BROKEN, "modalias").unwrap();
        }
        kubelet
            .wait_for(&format!("both after {file} {fault:?}"), PATIENCE, |state| state.allocatable(QAT) == 2)
            .await
            .unwrap();
        assert!(kubelet.watch(QAT).iter().all(|list| list.healthy >= 1), "{file} {fault:?}: the sound one never went");
        assert!(agent.is_running().unwrap());
    }
}

#[tokio::test]
async fn a_device_that_cannot_be_read_any_more_keeps_its_last_state_and_is_named_once() {
    for (file, fault) in [("vendor", Fault::Folder), ("driver", Fault::Folder), ("", Fault::Gone)] {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let (kubelet, agent) = started(&node, &folder).await;
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        break_it(&node, file, fault);
        agent.wait_for_log(BROKEN).unwrap_or_else(|error| panic!("{file} {fault:?}: {error}"));
        let calls = kubelet.look(|state| state.pod_resources_calls().len());
        kubelet
            .wait_for("five rescans", PATIENCE, |state| state.pod_resources_calls().len() > calls + 5)
            .await
            .unwrap();
        assert_eq!(kubelet.capacity(QAT), 2, "{file} {fault:?}: not dropped");
        let warnings = agent.log().lines().filter(|line| line.contains("WARN") && line.contains(BROKEN)).count();
        assert!((1..=3).contains(&warnings), "said once, not at each rescan: {}", agent.log());
    }
}

#[tokio::test]
async fn lists_of_devices_that_cannot_be_read_are_never_taken_for_empty() {
    for list in ["sys/bus/pci/devices", "sys/bus", "sys"] {
        // From the start: nothing is told before the truth is known.
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        node.break_path(list, Fault::Gone).unwrap();
        let (kubelet, agent) = started(&node, &folder).await;
        agent.wait_for_log(list).unwrap();
        node.mend_path(list).unwrap();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        assert!(kubelet.watch(QAT).iter().all(|listing| listing.healthy == 2), "{list}: {:?}", kubelet.watch(QAT));

        // While it is served: the last state holds.
        node.break_path(list, Fault::Gone).unwrap();
        let calls = kubelet.look(|state| state.pod_resources_calls().len());
        kubelet
            .wait_for("five rescans", PATIENCE, |state| state.pod_resources_calls().len() > calls + 5)
            .await
            .unwrap();
        assert_eq!(kubelet.allocatable(QAT), 2, "{list}");
        node.mend_path(list).unwrap();
    }
}

#[tokio::test]
async fn a_folder_of_nodes_that_vanishes_and_comes_back_is_followed() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder).await;
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    for _ in 0..3 {
        fs::rename(node.path("dev/vfio"), node.path("dev/hidden")).unwrap();
        kubelet
            .wait_for("listed and Unhealthy", PATIENCE, |state| state.allocatable(QAT) == 0 && state.capacity(QAT) == 2)
            .await
            .unwrap();
        fs::rename(node.path("dev/hidden"), node.path("dev/vfio")).unwrap();
        kubelet.wait_for("Healthy again", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    }
}

#[tokio::test]
async fn a_lack_of_file_descriptors_loses_nothing() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, mut agent) = started(&node, &folder).await;
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let pid = Pid::from_raw(agent.pid().try_into().unwrap());
    let few = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let enough = prlimit(pid, Resource::Nofile, few).unwrap();
    agent.wait_for_log("Too many open files").unwrap();
    agent.configure(&pci_config(&[(GPU_ID, GPU)])).unwrap();
    agent.wait_for_log("cannot read the configuration").unwrap();
    kubelet.disconnect(QAT).await; // it cannot make a new socket now
    tokio::time::sleep(Duration::from_millis(500)).await;
    agent.configure(&usual_config()).unwrap();
    prlimit(pid, Resource::Nofile, enough).unwrap();
    kubelet.wait_for("all is well again", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    assert!(kubelet.watch(QAT).iter().all(|list| list.healthy == 2), "{:?}", kubelet.watch(QAT));
    assert_eq!(agent.terminate().unwrap().code(), Some(0));
}

/// A file system of this test's own at a path, in a mount namespace of this thread's own.
struct Disk(PathBuf);

impl Disk {
    fn at(path: &Path, options: &str) -> io::Result<Self> {
        // SAFETY: a new mount namespace changes how this thread resolves paths later, and no memory or descriptor.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        fs::create_dir_all(path)?;
        let options = std::ffi::CString::new(options)?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Self(path.to_owned()))
    }

    fn remount(&self, flags: MountFlags, options: &str) {
        let options = std::ffi::CString::new(options).unwrap();
        let begun = std::time::Instant::now();
        // Busy while somebody writes a file: the kubelet its checkpoint.
        while let Err(error) = mount_remount(&self.0, flags, options.as_c_str()) {
            assert!(error == rustix::io::Errno::BUSY && begun.elapsed() < PATIENCE, "{error}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_told_and_waited_out() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let disk = match Disk::at(folder.path(), "size=1m,nr_inodes=64") {
        Ok(disk) => disk,
        Err(error) => {
            available("a mount namespace", Err(error));
            return;
        }
    };
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    // No inode is left: a socket needs one.
    let filler = folder.path().join("filler");
    fs::create_dir(&filler).unwrap();
    let files = (0..).map_while(|number| fs::File::create(filler.join(number.to_string())).ok()).count();
    assert!(files > 1);
    let agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    agent.wait_for_log("No space left on device").unwrap();
    agent.wait_for_log("trying again").unwrap();
    fs::remove_dir_all(&filler).unwrap();
    kubelet
        .wait_for("served", PATIENCE, |state| state.allocatable(QAT) == 2 && state.is_connected(AUDIO))
        .await
        .unwrap();

    disk.remount(MountFlags::RDONLY, "");
    kubelet.disconnect(AUDIO).await;
    agent.wait_for_log("Read-only file system").unwrap();
    assert_eq!(kubelet.allocatable(QAT), 2, "other resources are served");
    disk.remount(MountFlags::empty(), "");
    kubelet.wait_for("served again", PATIENCE, |state| state.is_connected(AUDIO)).await.unwrap();
    assert!(kubelet.watch(QAT).iter().all(|list| list.healthy == 2));
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, usual_config()).unwrap();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (format, stderr) in [("text", Stdio::from(full())), ("json", Stdio::from(full())), ("text", Stdio::piped())] {
        let mut command = Command::new(vfiod_tests::agent::binary());
        command.args(["run", "--rescan", "200ms", "--log-format", format]);
        command
            .arg("--config")
            .arg(&config)
            .arg("--host-root")
            .arg(node.root())
            .arg("--kubelet-dir")
            .arg(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        drop(child.stderr.take()); // nobody reads the pipe any more
        let before = kubelet.registrations(QAT);
        let served = kubelet
            .wait_for("two QATs", PATIENCE, |state| state.registrations(QAT) > before && state.allocatable(QAT) == 2)
            .await;
        node.unbind(BROKEN).unwrap();
        let noticed = kubelet.wait_for("one is Unhealthy", PATIENCE, |state| state.allocatable(QAT) == 1).await;
        node.bind(BROKEN, "vfio-pci").unwrap();
        rustix::process::kill_process(Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{format}");
        served.and(noticed).unwrap();
    }
    // Not even the last word changes the exit code.
    let status = Command::new(vfiod_tests::agent::binary())
        .args(["run", "--config", "/nonexistent"])
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
}
