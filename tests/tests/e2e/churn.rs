//! Everything at once, in any order: whatever happens, what the kubelet is told becomes true without a rescan.

use crate::scene::*;
use rustix::process::Signal;
use std::collections::BTreeMap;
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, KubeletVersion, PodSpec},
    node::{MdevSpec, MdevType, Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const VGPU: &str = "nvidia.com/vgpu";
const PARENT: &str = "0000:d8:00.0";

/// What the node has, as the test did it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Absent,
    Unbound,
    Host,
    Bound,
    NodeGone,
}

struct Churn {
    node: Node,
    kubelet: Kubelet,
    agent: Agent,
    folder: TempDir,
    devices: BTreeMap<String, State>,
    mdevs: BTreeMap<String, bool>,
    pods: Vec<String>,
    dice: Dice,
    log: Vec<String>,
}

fn bdf(number: usize) -> String {
    format!("0000:{:02x}:00.0", 0x10 + number)
}

fn group(id: &str) -> u32 {
    100 + u32::from_str_radix(&id[5..7], 16).unwrap()
}

fn config() -> String {
    pci_config(&[(QAT_ID, QAT)])
        + &format!("  mediatedDevices: [{{mdevNameSelector: GRID T4-1Q, resourceName: {VGPU}}}]\n")
}

impl Churn {
    async fn begin(seed: u64, version: KubeletVersion) -> Self {
        let vgpus = MdevType::new("nvidia-222", "GRID T4-1Q");
        let builder = Node::builder().pci(PciSpec::new(PARENT, "10DE:2230").driver("nvidia").mdev_type(vgpus));
        let ids: Vec<String> = (0..6).map(bdf).collect();
        let node = ids.iter().fold(builder, |builder, id| builder.pci(qat(id, group(id)))).build().unwrap();
        let folder = TempDir::new().unwrap();
        let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).version(version).start().await.unwrap();
        let agent = Agent::builder(node.root(), folder.path(), &config()).flag("--rescan", "1h").start().unwrap();
        let mdevs = (0..4).map(|number| (format!("00000000-0000-4000-8000-00000000000{number}"), false)).collect();
        Self {
            node,
            kubelet,
            agent,
            folder,
            devices: ids.into_iter().map(|id| (id, State::Bound)).collect(),
            mdevs,
            pods: Vec::new(),
            dice: Dice(seed),
            log: Vec::new(),
        }
    }

    /// One thing happens.
    async fn step(&mut self) {
        match self.dice.below(20) {
            0..=10 => self.change_device(),
            11..=13 => self.change_mdev(),
            14 | 15 => self.admit().await,
            16 if !self.pods.is_empty() => {
                let pod = self.pods.remove(self.dice.below(self.pods.len()));
                self.log.push(format!("finish {pod}"));
                self.kubelet.finish_pod(&pod);
            }
            17 => {
                self.log.push("disconnect".into());
                self.kubelet.disconnect(QAT).await;
            }
            18 => {
                self.log.push("restart the kubelet".into());
                self.kubelet.restart().await.unwrap();
            }
            19 if self.dice.below(3) == 0 => {
                self.log.push("restart the agent".into());
                self.agent.signal(Signal::KILL).unwrap();
                self.agent.wait().unwrap();
                self.agent = Agent::builder(self.node.root(), self.folder.path(), &config())
                    .flag("--rescan", "1h")
                    .start()
                    .unwrap();
                // Before it has read its configuration there is none to reload.
                self.agent.wait_for_log("found").unwrap();
            }
            _ => {
                self.log.push("reload".into());
                self.agent.configure(&pci_config(&[])).unwrap();
                self.agent.configure(&config()).unwrap();
            }
        }
    }

    fn change_device(&mut self) {
        let id = bdf(self.dice.below(6));
        let now = self.devices[&id];
        let (node, choice) = (&self.node, self.dice.below(3));
        let next = match (now, choice) {
            (State::Absent, _) => {
                node.plug(qat(&id, group(&id))).unwrap();
                State::Bound
            }
            (State::Unbound, 0) => {
                node.bind(&id, "4xxx").unwrap();
                State::Host
            }
            (State::Unbound, _) => {
                node.bind(&id, "vfio-pci").unwrap();
                State::Bound
            }
            (State::Host, _) => {
                node.unbind(&id).unwrap();
                State::Unbound
            }
            (State::Bound, 0) => {
                node.unbind(&id).unwrap();
                State::Unbound
            }
            (State::Bound, 1) => {
                node.node_gone(group(&id)).unwrap();
                State::NodeGone
            }
            (State::Bound, _) => {
                node.unplug(&id).unwrap();
                State::Absent
            }
            (State::NodeGone, _) => {
                node.node_back(group(&id)).unwrap();
                State::Bound
            }
        };
        self.log.push(format!("{id} {now:?} -> {next:?}"));
        self.devices.insert(id, next);
    }

    fn change_mdev(&mut self) {
        let at = self.dice.below(self.mdevs.len());
        let (uuid, exists) = self.mdevs.iter_mut().nth(at).unwrap();
        if *exists {
            self.node.remove_mdev(uuid).unwrap();
        } else {
            self.node.create_mdev(MdevSpec::new(uuid.as_str(), PARENT, "nvidia-222")).unwrap();
        }
        *exists = !*exists;
        self.log.push(format!("{uuid} exists: {exists}"));
    }

    /// A pod that may be admitted or not: the kubelet decides.
    async fn admit(&mut self) {
        let name = format!("vm-{}", self.log.len());
        let spec = PodSpec::new("vms", &name).container("compute", [(QAT, 1 + self.dice.below(2))]);
        if let Ok(pod) = self.kubelet.admit(spec).await {
            self.log.push(format!("admit {name} {:?}", pod.device_ids()));
            self.pods.push(pod.uid().to_owned());
        }
    }

    /// Waits until the kubelet knows what is true.
    async fn converge(&self) {
        let healthy: Vec<String> =
            self.devices.iter().filter(|(_, state)| **state == State::Bound).map(|(id, _)| id.clone()).collect();
        let mdevs: Vec<String> = self.mdevs.iter().filter(|(_, exists)| **exists).map(|(id, _)| id.clone()).collect();
        let told = self.kubelet.wait_for("what is true", PATIENCE, |state| {
            ids(state, QAT, Health::Healthy) == healthy && ids(state, VGPU, Health::Healthy) == mdevs
        });
        if let Err(error) = told.await {
            let steps = self.log[self.log.len().saturating_sub(30)..].join("\n");
            panic!("{error}\nHealthy should be {healthy:?} and {mdevs:?}\nafter\n{steps}");
        }
    }
}

async fn churn(seed: u64, version: KubeletVersion) {
    if !private_network() {
        return;
    }
    let mut churn = Churn::begin(seed, version).await;
    churn.converge().await;
    for _ in 0..8 {
        for _ in 0..25 {
            churn.step().await;
        }
        churn.converge().await;
    }
    assert_eq!(churn.agent.terminate().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_newer_kubelet_learns_the_truth_after_any_events_in_any_order() {
    churn(1, KubeletVersion::Newer).await;
}

#[tokio::test]
async fn an_older_kubelet_learns_the_truth_after_any_events_in_any_order() {
    churn(2, KubeletVersion::V1_32).await;
}
