//! Who has a device open: what the kubelet is told, when a container starts, and what people can ask.

use crate::scene::*;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{AdmittedPod, Health, Kubelet, PodSpec},
    node::{Node, ProcessSpec},
};
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

const DEVICE: &str = "0000:3b:00.0";
const GROUP: &str = "/dev/vfio/11";
const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

struct Scene {
    node: Node,
    folder: TempDir,
    kubelet: Kubelet,
    agent: Agent,
}

async fn scene(settings: &str) -> Scene {
    let (node, folder) = (Node::builder().pci(qat(DEVICE, 11)).build().unwrap(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let config = format!("{}{settings}", usual_config());
    let agent = Agent::builder(node.root(), folder.path(), &config).flag("--rescan", "1h").start().unwrap();
    kubelet.wait_for("its device", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();
    Scene { node, folder, kubelet, agent }
}

impl Scene {
    async fn is(&self, health: Health) {
        let what = format!("{DEVICE} is {health:?}");
        self.kubelet.wait_for(&what, PATIENCE, |state| state.health(QAT, DEVICE) == Some(health)).await.unwrap();
    }

    async fn admit(&self, name: &str) -> AdmittedPod {
        self.kubelet.admit(PodSpec::new("vms", name).container("compute", [(QAT, 1)])).await.unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(binary()).args(arguments).arg("--status-socket").arg(self.agent.status_socket()).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Asks again and again until the answer is right.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_process_of_no_pod_makes_a_device_unhealthy_until_it_closes_it() {
    let scene = scene("").await;
    let mut process = scene.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
    process.open(GROUP).unwrap();
    scene.is(Health::Unhealthy).await;
    scene.agent.wait_for_log(&format!("held by process {} (dpdk-testpmd)", process.pid())).unwrap();
    process.close(GROUP);
    scene.is(Health::Healthy).await;
}

#[tokio::test]
async fn what_is_open_before_vfiod_starts_is_never_listed_healthy() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let mut process = node.start_process(&ProcessSpec::new("qemu-kvm")).unwrap();
    process.open(GROUP).unwrap();
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    let held = |state: &vfiod_simulator::kubelet::State| state.health(QAT, DEVICE) == Some(Health::Unhealthy);
    kubelet.wait_for("it is held", PATIENCE, held).await.unwrap();
    let first = &kubelet.look(|state| state.listings(QAT)[0].clone());
    // On a machine that is too busy for the kubelet to be heard within a second, nobody is accused so early.
    let heard = !agent.log().contains("has not answered within");
    assert!(!heard || (first.healthy, first.unhealthy) == (1, 1), "the first list has {first:?}");
}

#[tokio::test]
async fn an_owner_that_opens_and_closes_its_device_changes_nothing_for_the_kubelet() {
    let scene = scene("").await;
    let pod = scene.admit("a").await;
    let before = scene.kubelet.look(|state| state.listings(QAT).len());
    let mut process = scene.node.start_process(&ProcessSpec::new("qemu-kvm").in_pod(pod.uid(), CONTAINER)).unwrap();
    process.open(GROUP).unwrap();
    eventually("the holder", || {
        let held = scene.json(&["holders", "-o", "json"]);
        held["objects"][0]["holders"][0]["relation"] == "own"
    });
    process.close(GROUP);
    eventually("the release", || scene.json(&["holders", "-o", "json"])["objects"] == serde_json::json!([]));
    assert_eq!(scene.kubelet.look(|state| state.listings(QAT).len()), before);
}

#[tokio::test]
async fn a_container_starts_the_moment_the_last_holder_has_closed_its_device() {
    let scene = scene("").await;
    let first = scene.admit("a").await;
    scene.kubelet.start_container(first.uid(), "compute").await.unwrap();
    let mut process = scene.node.start_process(&ProcessSpec::new("qemu-kvm").in_pod(first.uid(), CONTAINER)).unwrap();
    process.open(GROUP).unwrap();
    scene.agent.wait_for_log("opened by process").unwrap();
    scene.kubelet.finish_pod(first.uid());
    let second = scene.admit("b").await;
    let start = scene.kubelet.start_container(second.uid(), "compute");
    let release = async {
        let waiting = || scene.agent.log().contains("a container waits");
        let begun = Instant::now();
        while !waiting() {
            assert!(begun.elapsed() < PATIENCE, "it does not wait:\n{}", scene.agent.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process.close(GROUP);
    };
    let (started, ()) = tokio::join!(start, release);
    started.unwrap();
}

#[tokio::test]
async fn a_container_whose_device_is_not_released_in_time_is_told_who_has_it() {
    let scene = scene("preStart: {releaseWait: 200ms}\n").await;
    let mut process = scene.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
    let pod = scene.admit("a").await;
    process.open(GROUP).unwrap();
    scene.agent.wait_for_log("opened by process").unwrap();
    let error = scene.kubelet.start_container(pod.uid(), "compute").await.unwrap_err().to_string();
    assert!(error.contains(&format!("held by process {} (dpdk-testpmd)", process.pid())), "{error}");
    drop(process);
    starts_in_the_end(&scene.kubelet, pod.uid()).await;
}

#[tokio::test]
async fn holders_are_told_by_the_daemon_and_by_the_host_alike() {
    let scene = scene("").await;
    let pod = scene.admit("a").await;
    let mut process = scene.node.start_process(&ProcessSpec::new("qemu-kvm").in_pod(pod.uid(), CONTAINER)).unwrap();
    process.open(GROUP).unwrap();
    let (root, kubelet) = (scene.node.root().to_str().unwrap(), scene.folder.path().to_str().unwrap());
    let config = scene.agent.config_path();
    let daemon = scene.json(&["holders", "-o", "json"]);
    let arguments =
        ["holders", "-o", "json", "--host-root", root, "--kubelet-dir", kubelet, "--config", config.to_str().unwrap()];
    let output = Command::new(binary()).args(arguments).args(["--status-socket", "/nonexistent/s"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no vfiod answers on /nonexistent/s"), "{told}");
    let host: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&daemon["source"], &host["source"]), (&"daemon".into(), &"host".into()));
    for list in [&daemon, &host] {
        let held = &list["objects"][0];
        assert_eq!((&held["kind"], &held["id"]), (&"group".into(), &"11".into()), "{list}");
        let holder = &held["holders"][0];
        assert_eq!(holder["pid"], process.pid());
        assert_eq!(holder["podUid"], pod.uid());
        assert_eq!(holder["containerId"], CONTAINER);
    }
    let table = String::from_utf8(scene.ask(&["holders"]).stdout).unwrap();
    assert!(table.starts_with("DEVICE") && table.contains("group 11") && table.contains("qemu-kvm"), "{table}");
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn following_tells_each_open_and_release() {
    let scene = scene("").await;
    let mut early = scene.node.start_process(&ProcessSpec::new("early")).unwrap();
    early.open(GROUP).unwrap();
    scene.agent.wait_for_log("opened by process").unwrap();
    let mut follow = Command::new(binary());
    let follow = follow.args(["holders", "--follow", "-o", "json", "--status-socket"]).arg(scene.agent.status_socket());
    let mut follow = Running(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let event = next();
    assert_eq!((&event["what"], &event["holder"]["command"]), (&"open".into(), &"early".into()));
    drop(early);
    scene.agent.wait_for_log("closed by process").unwrap();
    let event = next();
    assert_eq!((&event["what"], &event["holder"]["command"]), (&"closed".into(), &"early".into()));
    let mut late = scene.node.start_process(&ProcessSpec::new("late")).unwrap();
    late.open(GROUP).unwrap();
    let event = next();
    assert_eq!((&event["what"], &event["holder"]["command"]), (&"opened".into(), &"late".into()));
}

#[tokio::test]
async fn explain_says_what_is_true_what_is_missing_and_what_to_do() {
    let scene = scene("").await;
    let explanation = scene.json(&["explain", DEVICE, "-o", "json"]);
    assert_eq!(explanation["reason"], "Ready");
    let bad = |explanation: &Value| -> Vec<Value> {
        explanation["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["standing"] == "bad")
            .cloned()
            .collect()
    };
    assert_eq!(bad(&explanation), Vec::<Value>::new());

    let mut process = scene.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
    process.open(GROUP).unwrap();
    scene.is(Health::Unhealthy).await;
    let explanation = scene.json(&["explain", DEVICE, "-o", "json"]);
    let found = bad(&explanation);
    assert_eq!(found.len(), 1, "{explanation:#}");
    assert_eq!(found[0]["subject"], "holders");
    let next = found[0]["nextStep"].as_str().unwrap();
    assert!(next.contains(&format!("end process {}", process.pid())), "{next}");
    let text = String::from_utf8(scene.ask(&["explain", DEVICE]).stdout).unwrap();
    assert!(text.contains("BAD  holders") && text.contains("ok   driver"), "{text}");

    let unknown = scene.ask(&["explain", "0000:ff:1f.7"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(told.contains("neither this host nor its kubelet knows 0000:ff:1f.7"), "{told}");
    let nonsense = scene.ask(&["explain", "gpu0"]);
    assert_eq!(nonsense.status.code(), Some(2));
}

/// The names of all fields of a JSON value.
fn fields(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            found.insert(name.clone());
            fields(value, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_documents_describe_every_field() {
    let scene = scene("").await;
    let pod = scene.admit("a").await;
    let mut process = scene.node.start_process(&ProcessSpec::new("qemu-kvm").in_pod(pod.uid(), CONTAINER)).unwrap();
    process.open(GROUP).unwrap();
    eventually("the owner", || scene.json(&["explain", DEVICE, "-o", "json"])["reason"] == "Owned");
    let mut names = std::collections::BTreeSet::new();
    fields(&scene.json(&["holders", "-o", "json"]), &mut names);
    fields(&scene.json(&["explain", DEVICE, "-o", "json"]), &mut names);
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/HOLDERS-JSON.md")).unwrap();
    let missing: Vec<&String> = names.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty() && names.len() > 25, "docs/HOLDERS-JSON.md does not describe {missing:?}");
}

#[tokio::test]
async fn a_cordon_outlives_the_agent_and_ends_with_its_file() {
    let (node, folder, state) = (two_qats(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let start = || Agent::builder(node.root(), folder.path(), &usual_config()).state_dir(state.path()).start().unwrap();
    let run = |agent: &Agent, arguments: &[&str]| -> Output {
        Command::new(binary()).args(arguments).arg("--status-socket").arg(agent.status_socket()).output().unwrap()
    };
    let mut agent = start();
    kubelet.wait_for("its devices", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let done = run(&agent, &["cordon", DEVICE, "0000:ff:1f.7"]);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(told.starts_with("0000:3b:00.0 cordoned"), "{told}");
    assert_eq!(done.status.code(), Some(1), "the other one does not exist");
    kubelet.wait_for("it is held back", PATIENCE, |state| state.allocatable(QAT) == 1).await.unwrap();

    agent.terminate().unwrap();
    let mut agent = start();
    let held_back = |state: &vfiod_simulator::kubelet::State| state.health(QAT, DEVICE) == Some(Health::Unhealthy);
    kubelet.wait_for("still", PATIENCE, |state| state.registrations(QAT) == 2 && held_back(state)).await.unwrap();
    assert!(run(&agent, &["uncordon", DEVICE]).status.success());
    kubelet.wait_for("it is offered", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let again = run(&agent, &["uncordon", DEVICE]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("is not cordoned"));

    assert!(run(&agent, &["cordon", DEVICE]).status.success());
    agent.terminate().unwrap();
    std::fs::remove_file(state.path().join("marks")).unwrap();
    let agent = start();
    kubelet
        .wait_for("a reboot", PATIENCE, |state| state.registrations(QAT) == 3 && state.allocatable(QAT) == 2)
        .await
        .unwrap();
    let none = run(&agent, &["clear", DEVICE]);
    assert!(String::from_utf8_lossy(&none.stdout).contains("has no fatal PCI error"));
}
