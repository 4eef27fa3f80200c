//! What the cluster is told as Events.

use crate::scene::*;
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    api_server::{ApiServer, Refusal},
    kubelet::{Kubelet, PodSpec},
    node::{Node, PciFleet, ProcessSpec},
};
use vfiod_tests::{
    Agent,
    agent::{AgentBuilder, PATIENCE},
};

struct Scene {
    node: Node,
    kubelet: Kubelet,
    server: ApiServer,
    folder: TempDir,
}

impl Scene {
    async fn of(node: Node) -> Self {
        let folder = TempDir::new().unwrap();
        let kubelet = Kubelet::builder(folder.path().join("kubelet")).host_root(node.root()).start().await.unwrap();
        age(&kubelet);
        Self { node, kubelet, server: ApiServer::start().unwrap(), folder }
    }

    fn builder(&self, entries: &[(&str, &str)]) -> AgentBuilder {
        let kubeconfig = self.server.kubeconfig(self.folder.path()).unwrap();
        Agent::builder(self.node.root(), &self.folder.path().join("kubelet"), &pci_config(entries))
            .variable("KUBECONFIG", kubeconfig.to_str().unwrap())
            .flag("--node-name", "node-7")
    }

    async fn serves(&self, resource: &str, devices: usize) {
        let what = format!("{devices} of {resource}");
        self.kubelet.wait_for(&what, PATIENCE, |state| state.allocatable(resource) == devices).await.unwrap();
    }

    /// Waits for an Event of this reason on this kind of object.
    fn event(&self, reason: &str, kind: &str) -> Value {
        let is = |event: &&Value| event["reason"] == reason && event["regarding"]["kind"] == kind;
        let found = |server: &ApiServer| server.events().iter().find(is).cloned();
        self.server.wait_for(&format!("{reason} on a {kind}"), PATIENCE, |server| found(server).is_some()).unwrap();
        found(&self.server).unwrap()
    }
}

#[tokio::test]
async fn a_device_that_fails_and_recovers_is_told_of_on_the_node() {
    let scene = Scene::of(two_qats()).await;
    let agent = scene.builder(&[(QAT_ID, QAT)]).flag("--events", "true").start().unwrap();
    scene.serves(QAT, 2).await;
    scene.node.node_gone(11).unwrap();
    let event = scene.event("DeviceUnhealthy", "Node");
    assert_eq!((&event["type"], &event["metadata"]["namespace"]), (&"Warning".into(), &"default".into()));
    assert_eq!((&event["regarding"]["name"], &event["regarding"]["uid"]), (&"node-7".into(), &"node-7".into()));
    assert_eq!((&event["reportingController"], &event["action"]), (&"vfiod".into(), &"JudgeDevice".into()));
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("0000:3b:00.0") && note.contains(QAT) && note.contains("/dev/vfio/11"), "{note}");
    assert!(event["eventTime"].is_string() && event["series"].is_null());
    scene.node.node_back(11).unwrap();
    assert_eq!(scene.event("DeviceRecovered", "Node")["type"], "Normal");
    let log = agent.log();
    assert!(log.contains("event=\"DeviceUnhealthy\"") && log.contains("reason=\"NodeMissing\""), "{log}");
}

#[tokio::test]
async fn what_happens_to_the_device_of_a_pod_is_told_on_the_pod_too() {
    let scene = Scene::of(two_qats()).await;
    scene.server.permit("kubevirt", "kubevirt", &[(QAT_ID, QAT)]);
    let _agent = scene.builder(&[]).without_config().flag("--kubevirt", "only").start().unwrap();
    scene.serves(QAT, 2).await;
    let pod = scene.kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
    starts_in_the_end(&scene.kubelet, pod.uid()).await;
    let group = if pod.device_ids() == ["0000:3b:00.0"] { 11 } else { 12 };
    // The pod's name and UID come with looks at the sources, which follow each `Allocate`: until then the node alone is told.
    let begun = Instant::now();
    let told = || scene.server.events().iter().any(|event| event["regarding"]["kind"] == "Pod");
    while !told() {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", scene.server.events());
        scene.node.node_gone(group).unwrap();
        scene.serves(QAT, 1).await;
        scene.node.node_back(group).unwrap();
        scene.serves(QAT, 2).await;
    }
    let event = scene.event("DeviceUnhealthy", "Pod");
    let regarding = &event["regarding"];
    assert_eq!((&regarding["namespace"], &regarding["name"]), (&"vms".into(), &"vm".into()));
    assert_eq!((&event["metadata"]["namespace"], &event["related"]["kind"]), (&"vms".into(), &"Node".into()));
    assert_eq!(regarding["uid"].as_str(), Some(pod.uid()));
}

#[tokio::test]
async fn a_group_that_is_not_viable_is_told_of_once_for_all_its_members() {
    let scene = Scene::of(gpu_with_audio(Node::builder(), "0000:10:00", 10).build().unwrap()).await;
    let config = [(GPU_ID, GPU)];
    let _agent = scene.builder(&config).flag("--events", "true").start().unwrap();
    scene.serves(GPU, 1).await;
    scene.node.unbind("0000:10:00.1").unwrap();
    scene.node.bind("0000:10:00.1", "snd_hda_intel").unwrap();
    let event = scene.event("GroupNotViable", "Node");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("0000:10:00.1") && note.contains("snd_hda_intel"), "{note}");
}

#[tokio::test]
async fn a_process_that_holds_what_is_not_its_own_is_named() {
    let scene = Scene::of(two_qats()).await;
    let _agent = scene.builder(&[(QAT_ID, QAT)]).flag("--events", "true").start().unwrap();
    scene.serves(QAT, 2).await;
    let mut stranger = scene.node.start_process(&ProcessSpec::new("dpdk-testpmd")).unwrap();
    stranger.open("/dev/vfio/11").unwrap();
    let event = scene.event("ForeignHolder", "Node");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("0000:3b:00.0") && note.contains(&stranger.pid().to_string()), "{note}");
    assert!(note.contains("dpdk-testpmd") && event["type"] == "Warning", "{event}");
    drop(stranger);
    assert_eq!(scene.event("DeviceRecovered", "Node")["type"], "Normal");
}

#[tokio::test]
async fn a_rejected_configuration_is_told_of() {
    let scene = Scene::of(two_qats()).await;
    let agent = scene.builder(&[(QAT_ID, QAT)]).flag("--events", "true").start().unwrap();
    scene.serves(QAT, 2).await;
    agent.configure(&pci_config(&[("8086", QAT)])).unwrap();
    let note = scene.event("ConfigurationRejected", "Node")["note"].as_str().unwrap().to_owned();
    assert!(note.contains("pciVendorSelector") && note.contains("8086"), "{note}");
    scene.serves(QAT, 2).await;
}

#[tokio::test]
async fn a_storm_is_a_few_events() {
    let fleet = PciFleet::new(QAT_ID, 60).driver("vfio-pci");
    let scene = Scene::of(Node::builder().pci_fleet(&fleet).build().unwrap()).await;
    let agent = scene.builder(&[(QAT_ID, QAT)]).flag("--events", "true").start().unwrap();
    scene.serves(QAT, 60).await;
    let groups: Vec<u32> = fs::read_dir(scene.node.root().join("dev/vfio"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    assert_eq!(groups.len(), 60);
    for _ in 0..5 {
        groups.iter().for_each(|&group| scene.node.node_gone(group).unwrap());
        scene.serves(QAT, 0).await;
        groups.iter().for_each(|&group| scene.node.node_back(group).unwrap());
        scene.serves(QAT, 60).await;
    }
    scene.event("DeviceUnhealthy", "Node");
    let settled = || agent.log().matches("told the cluster").count();
    let mut before = usize::MAX;
    while settled() != before {
        before = settled();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let writes = scene.server.event_writes().len();
    assert!(writes <= 40, "{writes} writes for 600 changes");
}

#[tokio::test]
async fn a_server_that_takes_no_events_disturbs_nothing() {
    let mut scene = Scene::of(two_qats()).await;
    scene.server.permit("kubevirt", "kubevirt", &[(QAT_ID, QAT)]);
    scene.server.refuse(Some(Refusal::of("POST", 403)));
    let agent = scene.builder(&[]).without_config().flag("--kubevirt", "only").start().unwrap();
    scene.serves(QAT, 2).await;
    scene.node.node_gone(11).unwrap();
    agent.wait_for_log("an Event cannot be written: the API server refused to write an Event (403").unwrap();
    scene.serves(QAT, 1).await;
    scene.server.refuse(None);
    // One that is away is waited for.
    scene.server.go_away();
    scene.node.node_gone(12).unwrap();
    scene.serves(QAT, 0).await;
    agent.wait_for_log("an Event cannot be written: the API server cannot be reached").unwrap();
    scene.server.come_back().unwrap();
    assert!(scene.event("DeviceUnhealthy", "Node")["note"].as_str().unwrap().contains("0000:3c:00.0"));
}

#[tokio::test]
async fn an_old_server_gets_events_on_the_node_where_it_takes_them() {
    let scene = Scene::of(two_qats()).await;
    scene.server.take_events_as_1_20();
    let agent = scene.builder(&[(QAT_ID, QAT)]).flag("--events", "true").start().unwrap();
    scene.serves(QAT, 2).await;
    scene.node.node_gone(11).unwrap();
    assert_eq!(scene.event("DeviceUnhealthy", "Node")["metadata"]["namespace"], "kube-system");
    scene.node.node_back(11).unwrap();
    assert_eq!(scene.event("DeviceRecovered", "Node")["metadata"]["namespace"], "kube-system");
    let refused = scene.server.requests().iter().filter(|request| request.contains("/default/events")).count();
    assert_eq!(refused, 1, "it remembers where");
    assert!(!agent.log().contains("an Event cannot be written"), "{}", agent.log());
}

#[tokio::test]
async fn events_can_be_turned_off() {
    let scene = Scene::of(two_qats()).await;
    scene.server.permit("kubevirt", "kubevirt", &[(QAT_ID, QAT)]);
    let builder = scene.builder(&[]).without_config().flag("--kubevirt", "only").flag("--events", "false");
    let agent = builder.start().unwrap();
    scene.serves(QAT, 2).await;
    scene.node.node_gone(11).unwrap();
    scene.serves(QAT, 1).await;
    // The edit that follows is seen, and no Event before it.
    scene.server.permit("kubevirt", "kubevirt", &[(QAT_ID, QAT), (GPU_ID, GPU)]);
    agent.wait_for_log("added=\"nvidia.com/GPU\"").unwrap();
    assert!(scene.server.event_writes().is_empty());
    assert!(agent.log().contains("event=\"DeviceUnhealthy\""), "the log says it all the same");
}
