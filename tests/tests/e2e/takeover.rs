//! A node that KubeVirt's own plugin served until now, with virtual machines running.

use crate::scene::*;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{AdmittedPod, Health, Kubelet, KubeletVersion, PodSpec, State},
    kubevirt_plugin::KubevirtPlugin,
    node::Node,
};
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

const VERSIONS: [KubeletVersion; 2] = [KubeletVersion::V1_32, KubeletVersion::Newer];

/// Two QATs that KubeVirt's plugin serves, one of them in use by a virtual machine.
struct Node1 {
    node: Node,
    kubelet: Kubelet,
    folder: TempDir,
    pod: AdmittedPod,
}

fn vm(name: &str) -> PodSpec {
    PodSpec::new("vms", name).container("compute", [(QAT, 1)])
}

fn told(state: &State) -> BTreeMap<String, Health> {
    state.devices(QAT).into_iter().map(|(id, device)| (id, device.health)).collect()
}

fn list(devices: &[(&str, Health)]) -> BTreeMap<String, Health> {
    devices.iter().map(|&(id, health)| (id.to_owned(), health)).collect()
}

const FREE: [(&str, Health); 2] = [("0000:3b:00.0", Health::Healthy), ("0000:3c:00.0", Health::Healthy)];

impl Node1 {
    async fn served_by_kubevirt(version: KubeletVersion) -> Self {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).host_root(node.root()).start().await.unwrap();
        age(&kubelet);
        let devices = [(11, "0000:3b:00.0"), (12, "0000:3c:00.0")];
        let plugin = KubevirtPlugin::start(&kubelet.plugin_dir(), QAT, &devices).await.unwrap();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        let pod = kubelet.admit(vm("running")).await.unwrap();
        kubelet.start_container(pod.uid(), "compute").await.unwrap();
        drop(plugin);
        kubelet.wait_for("KubeVirt's plugin has gone", PATIENCE, |state| state.allocatable(QAT) == 0).await.unwrap();
        Self { node, kubelet, folder, pod }
    }

    fn agent(&self) -> Agent {
        // What the kubelet gave back is noticed with a look at everything.
        let config = pci_config(&[(QAT_ID, QAT)]);
        Agent::builder(self.node.root(), self.folder.path(), &config).flag("--rescan", "200ms").start().unwrap()
    }

    /// The list while the pod runs: what it has, under the id that it has it by.
    fn in_use(&self) -> BTreeMap<String, Health> {
        match self.pod.device_ids().as_slice() {
            [id] if id == "11" => list(&[("11", Health::Healthy), ("0000:3c:00.0", Health::Healthy)]),
            [id] if id == "12" => list(&[("12", Health::Healthy), ("0000:3b:00.0", Health::Healthy)]),
            other => panic!("the pod has {other:?}"),
        }
    }

    async fn lists(&self, what: &str, expected: &BTreeMap<String, Health>) {
        let reached = self.kubelet.wait_for(what, PATIENCE, |state| told(state) == *expected).await;
        reached.unwrap_or_else(|error| panic!("{error}: {:?} is not {expected:?}", self.kubelet.look(told)));
    }
}

#[tokio::test]
async fn a_device_in_use_is_listed_under_its_old_id_until_its_pod_ends() {
    for version in VERSIONS {
        let node = Node1::served_by_kubevirt(version).await;
        let seen = node.kubelet.watch(QAT).len();
        let agent = node.agent();
        node.lists("the old id", &node.in_use()).await;
        let output = Command::new(binary())
            .args(["devices", "-o", "json", "--from", "daemon", "--status-socket"])
            .arg(agent.status_socket())
            .output()
            .unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let listed_as = shown["devices"].as_array().unwrap().iter().map(|one| one["listedAs"].as_str().unwrap());
        let listed_as: BTreeSet<&str> = listed_as.collect();
        assert_eq!(listed_as, node.in_use().keys().map(String::as_str).collect(), "`vfiod devices` says so too");
        let first = &node.kubelet.watch(QAT)[seen];
        assert_eq!((first.healthy, first.unhealthy), (2, 0), "the first message is already true");
        node.kubelet.look(|state| {
            assert_eq!(state.capacity(QAT), 2, "nothing is counted twice");
            assert_eq!(state.schedulable(QAT), 1, "one is free");
        });

        // A second machine gets the other device, by its own id, and not the one that is in use.
        let second = node.kubelet.admit(vm("second")).await.unwrap();
        assert!(second.device_ids()[0].starts_with("0000:"), "{:?}", second.device_ids());
        node.kubelet.start_container(second.uid(), "compute").await.unwrap();
        node.kubelet.admit(vm("third")).await.unwrap_err();

        for pod in [second.uid(), node.pod.uid()] {
            node.kubelet.finish_pod(pod);
            node.kubelet.delete_pod(pod);
        }
        node.lists("the devices' own ids", &list(&FREE)).await;
    }
}

#[tokio::test]
async fn a_running_machine_survives_restarts_of_vfiod_and_of_the_kubelet() {
    for version in VERSIONS {
        let node = Node1::served_by_kubevirt(version).await;
        let mut agent = node.agent();
        node.lists("the old id", &node.in_use()).await;
        agent.terminate().unwrap();
        let _agent = node.agent();
        node.lists("the old id after a restart of vfiod", &node.in_use()).await;
        node.kubelet.restart().await.unwrap();
        node.lists("the old id after a restart of the kubelet", &node.in_use()).await;
        node.kubelet.look(|state| {
            assert_eq!(state.pod_status(node.pod.uid()).values().collect::<Vec<_>>(), [&Health::Healthy]);
            assert_eq!(state.phase(node.pod.uid()), Some(vfiod_simulator::kubelet::Phase::Running));
        });
    }
}

#[tokio::test]
async fn a_machine_that_is_admitted_anew_finds_its_device() {
    for version in VERSIONS {
        let node = Node1::served_by_kubevirt(version).await;
        let _agent = node.agent();
        node.lists("the old id", &node.in_use()).await;
        // The container starts again: PreStartContainer is asked by the old id.
        starts_in_the_end(&node.kubelet, node.pod.uid()).await;
        let options = node.kubelet.start_container(node.pod.uid(), "compute").await.unwrap();
        let device = if node.pod.device_ids() == ["11"] { "0000:3b:00.0" } else { "0000:3c:00.0" };
        assert_eq!(options.envs["PCI_RESOURCE_INTEL_COM_QAT"], device);
    }
}
