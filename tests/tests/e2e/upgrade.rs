//! A rollout by surge: the next vfiod serves before the one before it leaves, and takes the state over when it has left.

use crate::scene::*;
use rustix::process::Signal;
use std::{
    cell::Cell,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, KubeletVersion, State},
    node::Node,
};
use vfiod_tests::{
    Agent,
    agent::{PATIENCE, binary},
};

const FIRST: &str = "0000:3b:00.0";
const SECOND: &str = "0000:3c:00.0";

/// A node whose vfiods share a state folder, as the pods of a DaemonSet do.
struct Host {
    node: Node,
    kubelet: Kubelet,
    folder: TempDir,
}

impl Host {
    async fn with(version: KubeletVersion) -> Self {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path().join("kubelet")).version(version).start().await.unwrap();
        Self { node, kubelet, folder }
    }

    fn start(&self) -> Agent {
        Agent::builder(self.node.root(), &self.folder.path().join("kubelet"), &usual_config())
            .state_dir(&self.folder.path().join("state"))
            .status_socket(&self.folder.path().join("state/status.sock"))
            .start()
            .unwrap()
    }

    async fn wait(&self, what: &str, condition: impl FnMut(&State) -> bool) {
        self.kubelet.wait_for(what, PATIENCE, condition).await.unwrap();
    }

    fn marks(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("state/marks")).unwrap_or_default()
    }
}

/// `vfiod cordon` and the like, through the status socket.
fn mark(how: &str, device: &str, agent: &Agent) {
    let output =
        Command::new(binary()).args([how, device, "--status-socket"]).arg(agent.status_socket()).output().unwrap();
    assert!(output.status.success(), "{how} {device}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_healthy(state: &State, device: &str) -> bool {
    state.devices(QAT).get(device).is_some_and(|device| device.health == Health::Healthy)
}

fn all_registered(state: &State, times: usize) -> bool {
    [GPU, AUDIO, QAT].iter().all(|name| state.registrations(name) >= times)
}

/// How the capacity of a resource was while something else happened.
#[derive(Debug, Default)]
struct Seen {
    least_capacity: Option<usize>,
    /// How long allocatable was below what is there, in all.
    gap: Duration,
}

/// Watches the resource until it is served by the new instance alone.
async fn watch_until(kubelet: &Kubelet, done: impl Fn(&State) -> bool) -> Seen {
    let mut seen = Seen::default();
    let mut short_since: Option<Instant> = None;
    kubelet
        .wait_for("the new one serves alone", PATIENCE, |state| {
            let capacity = state.capacity(QAT);
            seen.least_capacity = Some(seen.least_capacity.map_or(capacity, |least| least.min(capacity)));
            let is_short = state.allocatable(QAT) < 2;
            match short_since {
                None if is_short => short_since = Some(Instant::now()),
                Some(since) if !is_short => {
                    seen.gap += since.elapsed();
                    short_since = None;
                }
                _ => {}
            }
            !is_short && done(state)
        })
        .await
        .unwrap();
    seen
}

#[tokio::test]
async fn capacity_holds_while_the_next_one_takes_over_however_the_old_one_ends() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        for signal in [Signal::TERM, Signal::KILL] {
            let host = Host::with(version).await;
            let mut old = host.start();
            host.wait("two QATs", |state| state.allocatable(QAT) == 2).await;
            let new = host.start();
            host.wait("both are registered", |state| all_registered(state, 2)).await;
            assert!(!new.log().contains("keeps the state now"));
            let sockets_of_both = sockets(&host.kubelet).len();
            assert_eq!(sockets_of_both, 6);

            old.signal(signal).unwrap();
            let taken_over = Cell::new(false);
            let takes_over = async {
                tokio::task::spawn_blocking(move || old.wait().unwrap()).await.unwrap();
                while !new.log().contains("this one keeps the state now") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                taken_over.set(true);
            };
            let is_alone = |state: &State| {
                // A kubelet of 1.32 drops the new client with the old one's stream; it is registered a third time.
                let registrations = if version == KubeletVersion::V1_32 { 3 } else { 2 };
                taken_over.get()
                    && [GPU, AUDIO, QAT].iter().all(|name| state.is_connected(name))
                    && all_registered(state, registrations)
            };
            let (seen, taken) =
                tokio::join!(watch_until(&host.kubelet, is_alone), tokio::time::timeout(PATIENCE, takes_over));
            taken.unwrap();
            println!(
                "upgrade, kubelet {version:?}, old one ended by {signal:?}: allocatable short for {:?}, capacity at least {}",
                seen.gap,
                seen.least_capacity.unwrap_or_default()
            );
            assert_eq!(seen.least_capacity, Some(2), "{version:?} {signal:?}: the capacity never drops");
            if version == KubeletVersion::Newer {
                assert_eq!(seen.gap, Duration::ZERO, "such a kubelet tells the two apart");
            }
            assert!(host.kubelet.watch(QAT).iter().all(|list| list.healthy == 2), "no list was ever short");
            mark("cordon", FIRST, &new_with_socket(&host, new).await);
            assert!(host.marks().contains(FIRST), "the new one writes the marks: {:?}", host.marks());
        }
    }
}

/// The agent, once it answers on the status socket.
async fn new_with_socket(host: &Host, agent: Agent) -> Agent {
    let begun = Instant::now();
    while std::os::unix::net::UnixStream::connect(agent.status_socket()).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nobody answers on the status socket:\n{}", agent.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(Path::new(&agent.status_socket()), host.folder.path().join("state/status.sock"));
    agent
}

#[tokio::test]
async fn what_an_administrator_tells_the_old_one_while_both_run_holds_in_the_new_one() {
    let host = Host::with(KubeletVersion::Newer).await;
    let mut old = host.start();
    host.wait("two QATs", |state| state.allocatable(QAT) == 2).await;
    mark("cordon", FIRST, &old);
    host.wait("the first is cordoned", |state| !is_healthy(state, FIRST)).await;
    let new = host.start();
    host.wait("both are registered", |state| all_registered(state, 2)).await;
    // Whoever asks now, asks the old one.
    mark("uncordon", FIRST, &old);
    mark("cordon", SECOND, &old);
    assert!(new.log().contains("serves beside it"), "{}", new.log());
    assert_eq!(old.terminate().unwrap().code(), Some(0));
    host.wait("the new one has heard of it", |state| {
        state.is_connected(QAT) && is_healthy(state, FIRST) && !is_healthy(state, SECOND)
    })
    .await;
    assert_eq!(host.marks(), format!("{SECOND} cordoned\n"));
}

#[tokio::test]
async fn a_row_of_upgrades_leaves_one_keeper_and_one_set_of_sockets() {
    let host = Host::with(KubeletVersion::V1_32).await;
    let mut running = host.start();
    host.wait("two QATs", |state| state.allocatable(QAT) == 2).await;
    for round in 1..=4 {
        let next = host.start();
        let registrations = host.kubelet.registrations(QAT);
        host.wait("the next one is registered", |state| state.registrations(QAT) > registrations).await;
        running.signal(if round % 2 == 0 { Signal::KILL } else { Signal::TERM }).unwrap();
        running.wait().unwrap();
        next.wait_for_log("this one keeps the state now").unwrap();
        host.wait("it serves", |state| state.is_connected(QAT) && state.allocatable(QAT) == 2).await;
        running = new_with_socket(&host, next).await;
    }
    assert!(host.kubelet.watch(QAT).iter().all(|list| list.healthy == 2));
}
