//! vfiod, the kubelet and the API server are killed, in any order and again and again: when the last one is back, capacity
//! is true again; no list was ever wrong, and the pod that runs meanwhile notices nothing.

use crate::{
    kubevirt::{Cluster, remembered},
    scene::*,
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use vfiod_simulator::{
    kubelet::{AdmittedPod, Health, KubeletVersion, Phase, PodSpec, Sources},
    node::{Process, ProcessSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const ROUNDS: usize = 6;
const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Kubelet,
    ApiServer,
}

const ALL: [Victim; 3] = [Victim::Agent, Victim::Kubelet, Victim::ApiServer];

struct Story {
    cluster: Cluster,
    /// None while it is dead.
    agent: Option<Agent>,
    api_server: bool,
    pod: AdmittedPod,
    machine: Process,
    /// The group of the QAT that nobody has, and whether its node is there. It comes and goes while vfiod is dead.
    free: (u32, bool),
    /// Whether the CR permits the GPU. It is edited whoever is dead.
    gpu: bool,
    /// How many QATs were healthy and not when each vfiod started, by its process: no list of it says anything else.
    truths: BTreeMap<u32, (usize, usize)>,
    dice: Dice,
    log: Vec<String>,
}

impl Story {
    async fn begin(seed: u64, version: KubeletVersion) -> Self {
        let cluster = Cluster::with(version).await;
        cluster.permit(&[(QAT_ID, QAT)]);
        let agent = start(&cluster);
        cluster.serves(QAT, 2).await;
        remembered(&cluster.cache(), QAT);
        let spec = PodSpec::new("vms", "vm").container("compute", [(QAT, 1)]);
        let pod = cluster.kubelet.admit(spec).await.unwrap();
        cluster.kubelet.start_container(pod.uid(), "compute").await.unwrap();
        let group = cluster.node.group_of(&pod.device_ids()[0]).unwrap();
        let spec = ProcessSpec::new("qemu-kvm").in_pod(pod.uid(), CONTAINER);
        let mut machine = cluster.node.start_process(&spec).unwrap();
        machine.open(&format!("/dev/vfio/{group}")).unwrap();
        let free = (if group == 11 { 12 } else { 11 }, true);
        let truths = BTreeMap::from([(agent.pid(), (2, 0))]);
        let (agent, dice, log) = (Some(agent), Dice(seed), Vec::new());
        Self { cluster, agent, api_server: true, pod, machine, free, gpu: false, truths, dice, log }
    }

    fn is_alive(&self, victim: Victim) -> bool {
        match victim {
            Victim::Agent => self.agent.is_some(),
            Victim::Kubelet => self.cluster.kubelet.is_running(),
            Victim::ApiServer => self.api_server,
        }
    }

    fn kill(&mut self, victim: Victim) {
        self.log.push(format!("kill {victim:?}"));
        match victim {
            Victim::Agent => {
                let mut agent = self.agent.take().unwrap();
                agent.signal(Signal::KILL).unwrap();
                agent.wait().unwrap();
            }
            Victim::Kubelet => self.cluster.kubelet.kill(),
            Victim::ApiServer => {
                self.cluster.server.go_away();
                self.api_server = false;
            }
        }
    }

    async fn bring_back(&mut self, victim: Victim) {
        self.log.push(format!("{victim:?} comes back"));
        match victim {
            Victim::Agent => {
                if self.dice.below(2) == 0 {
                    self.change_node();
                }
                let agent = start(&self.cluster);
                self.truths.insert(agent.pid(), self.truth());
                self.agent = Some(agent);
            }
            Victim::Kubelet => {
                let sources = [Sources::AtOnce, Sources::After(Duration::from_millis(100))];
                self.cluster.kubelet.set_sources(sources[self.dice.below(sources.len())]);
                self.cluster.kubelet.start_again().await.unwrap();
            }
            Victim::ApiServer => {
                // Another process may have its port for a moment.
                let begun = Instant::now();
                while let Err(error) = self.cluster.server.come_back() {
                    assert!(begun.elapsed() < PATIENCE, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                self.api_server = true;
            }
        }
    }

    fn change_node(&mut self) {
        let (group, is_there) = self.free;
        self.log.push(format!("/dev/vfio/{group} there: {}", !is_there));
        if is_there {
            self.cluster.node.node_gone(group).unwrap();
        } else {
            self.cluster.node.node_back(group).unwrap();
        }
        self.free.1 = !is_there;
    }

    fn edit(&mut self) {
        self.gpu = !self.gpu;
        self.log.push(format!("the CR permits the GPU: {}", self.gpu));
        let entries: &[(&str, &str)] = if self.gpu { &[(QAT_ID, QAT), (GPU_ID, GPU)] } else { &[(QAT_ID, QAT)] };
        self.cluster.permit(entries);
    }

    /// How many QATs are healthy, and how many are not.
    fn truth(&self) -> (usize, usize) {
        if self.free.1 { (2, 0) } else { (1, 1) }
    }

    /// Kills and resurrections in any order; at its end everybody lives. Returns how long the truth took from there.
    async fn round(&mut self) -> Duration {
        for _ in 0..3 + self.dice.below(6) {
            let victim = ALL[self.dice.below(ALL.len())];
            if self.is_alive(victim) {
                self.kill(victim);
            } else {
                self.bring_back(victim).await;
            }
            if self.dice.below(3) == 0 {
                self.edit();
            }
            // However far the others have come meanwhile.
            tokio::time::sleep(Duration::from_millis(40) * u32::try_from(self.dice.below(12)).unwrap()).await;
        }
        // At least one dies in every round.
        if ALL.iter().all(|victim| self.is_alive(*victim)) {
            let victim = ALL[self.dice.below(ALL.len())];
            self.kill(victim);
        }
        let first = self.dice.below(ALL.len());
        for at in 0..ALL.len() {
            let victim = ALL[(first + at) % ALL.len()];
            if !self.is_alive(victim) {
                self.bring_back(victim).await;
            }
        }
        let returned = Instant::now();
        self.is_true_again().await;
        returned.elapsed()
    }

    async fn is_true_again(&self) {
        let ((healthy, unhealthy), gpus) = (self.truth(), usize::from(self.gpu));
        let is_true = self.cluster.kubelet.wait_for("capacity is true again", PATIENCE, |state| {
            state.is_connected(QAT)
                && (state.capacity(QAT), state.allocatable(QAT)) == (healthy + unhealthy, healthy)
                && state.allocatable(GPU) == gpus
                && self.pod.device_ids().iter().all(|id| state.pod_status(self.pod.uid()).contains_key(id))
        });
        let log = || self.log.join("\n");
        if let Err(error) = is_true.await {
            panic!("{error}\nQATs should be {healthy} healthy and {unhealthy} not, GPUs {gpus}, after\n{}", log());
        }
        self.cluster.kubelet.look(|state| {
            assert_eq!(state.phase(self.pod.uid()), Some(Phase::Running), "after\n{}", log());
            let status = state.pod_status(self.pod.uid());
            assert!(status.values().all(|health| *health == Health::Healthy), "{status:?} after\n{}", log());
            let ids = self.pod.device_ids();
            assert!(ids.iter().all(|id| state.allocated(QAT).contains(id)), "{ids:?} after\n{}", log());
        });
        for list in self.cluster.kubelet.watch(QAT) {
            let socket = list.socket.display().to_string();
            let mut of = self.truths.iter().filter(|(pid, _)| socket.contains(&format!("-{pid:x}-")));
            let (_, truth) = of.next().unwrap_or_else(|| panic!("{socket} is nobody's: {:?}", self.truths));
            assert_eq!((list.healthy, list.unhealthy), *truth, "{socket} has told a lie, after\n{}", log());
        }
    }
}

fn start(cluster: &Cluster) -> Agent {
    // What no event tells is not found by chance.
    let builder = cluster.builder().state_dir(&cluster.folder.path().join("state")).flag("--rescan", "1h");
    builder.start().unwrap()
}

async fn story(seed: u64, version: KubeletVersion) {
    let mut story = Story::begin(seed, version).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..ROUNDS {
        slowest = slowest.max(story.round().await);
    }
    println!("killed, kubelet {version:?}, seed {seed}: true again at the latest {slowest:?} after the last return");
    // The machine that ran all the time ends, and what it had can be given out again.
    drop(story.machine);
    assert!(story.cluster.kubelet.finish_pod(story.pod.uid()) && story.cluster.kubelet.delete_pod(story.pod.uid()));
    if !story.free.1 {
        story.cluster.node.node_back(story.free.0).unwrap();
    }
    age(&story.cluster.kubelet);
    story
        .cluster
        .kubelet
        .wait_for("both are free", PATIENCE, |state| {
            state.allocatable(QAT) == 2 && ids(state, QAT, Health::Healthy).len() == 2
        })
        .await
        .unwrap();
    // One a resource, and those of all the dead are cleared away.
    let resources = 1 + usize::from(story.gpu);
    let begun = Instant::now();
    while sockets(&story.cluster.kubelet).len() != resources {
        assert!(begun.elapsed() < PATIENCE, "{:?}", sockets(&story.cluster.kubelet));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn with_a_newer_kubelet_capacity_is_true_when_the_last_one_is_back() {
    for seed in [1, 2] {
        story(seed, KubeletVersion::Newer).await;
    }
}

#[tokio::test]
async fn with_an_older_kubelet_capacity_is_true_when_the_last_one_is_back() {
    for seed in [3, 4] {
        story(seed, KubeletVersion::V1_32).await;
    }
}
