//! `--io uring` and `--io plain` do the same; only the kernel sees a difference.

use crate::scene::*;
use rustix::process::Signal;
use std::fs;
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, PodSpec},
    node::{Injection, Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

/// What a process has submitted to its rings; `None` when it has none (kernel: `io_uring/fdinfo.c`).
fn submissions(pid: u32) -> Option<u64> {
    let mut total = None;
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let is_ring = fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:[io_uring]");
        if !is_ring {
            continue;
        }
        // The counters are left out while the ring is busy.
        let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().into_string().unwrap());
        let taken = (0..1000).find_map(|_| {
            let text = fs::read_to_string(&info).unwrap();
            text.lines().find_map(|line| line.strip_prefix("SqHead:")?.trim().parse::<u64>().ok())
        });
        total = Some(total.unwrap_or(0) + taken.expect("the ring's counters"));
    }
    total
}

/// Everything that a kubelet learned of the node in the course of one life of it, step by step.
async fn transcript(mode: &str) -> (Vec<String>, Option<u64>, Option<u64>) {
    let node = gpu_with_audio(Node::builder(), "0000:10:00", 10)
        .injection(Injection::InPrivateNetwork)
        .pci(qat("0000:3b:00.0", 11).numa(1))
        .pci(qat("0000:3c:00.0", 12))
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let mut agent = Agent::builder(node.root(), folder.path(), &usual_config())
        .flag("--io", mode)
        .flag("--rescan", "300ms")
        .start()
        .unwrap();
    let mut told = Vec::new();
    let mut note = |what: &str, kubelet: &Kubelet| {
        let state = [GPU, AUDIO, QAT].map(|name| {
            let devices = kubelet.devices(name);
            devices.iter().map(|(id, device)| format!("{id} {:?} {:?}", device.health, device.numa)).collect::<Vec<_>>()
        });
        told.push(format!("{what}: {state:?}"));
    };
    let wait = async |what: &str, condition: &dyn Fn(&vfiod_simulator::kubelet::State) -> bool| {
        kubelet.wait_for(&format!("{mode}: {what}"), PATIENCE, condition).await.unwrap();
    };
    let usual = |state: &vfiod_simulator::kubelet::State| {
        state.allocatable(QAT) == 2 && state.allocatable(GPU) == 1 && state.allocatable(AUDIO) == 1
    };
    wait("the first lists", &usual).await;
    note("start", &kubelet);
    let at_start = submissions(agent.pid());

    node.unbind("0000:3b:00.0").unwrap();
    wait("unbound", &|state| state.health(QAT, "0000:3b:00.0") == Some(Health::Unhealthy)).await;
    note("unbound", &kubelet);
    node.bind("0000:3b:00.0", "vfio-pci").unwrap();
    wait("bound", &usual).await;
    node.node_gone(12).unwrap();
    wait("node gone", &|state| state.allocatable(QAT) == 1).await;
    note("node gone", &kubelet);
    node.node_back(12).unwrap();
    wait("node back", &usual).await;

    let pair = PodSpec::new("vms", "pair").container("compute", [(AUDIO, 1), (GPU, 1)]);
    let pair = kubelet.admit(pair).await.unwrap();
    kubelet.start_container(pair.uid(), "compute").await.unwrap();
    let options = &pair.container("compute").unwrap().options;
    told.push(format!("pair: {:?} {:?}", options.envs, options.devices));

    let mut note = |what: &str, kubelet: &Kubelet| {
        told.push(format!("{what}: {:?}", kubelet.devices(QAT)));
    };
    agent.configure(&usual_config().replace(QAT_ID, "8086:ffff")).unwrap();
    wait("reloaded", &|state| state.capacity(QAT) == 0).await;
    agent.configure(&usual_config()).unwrap();
    wait("reloaded again", &usual).await;
    kubelet.restart().await.unwrap();
    wait("restarted", &usual).await;
    note("restarted", &kubelet);
    node.plug(PciSpec::new("0000:5e:00.0", QAT_ID).driver("vfio-pci").group(77)).unwrap();
    wait("plugged", &|state| state.allocatable(QAT) == 3).await;
    note("plugged", &kubelet);
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_log("SIGHUP").unwrap();
    kubelet.finish_pod(pair.uid());
    let at_end = submissions(agent.pid());
    let exit = agent.terminate().unwrap();
    told.push(format!("exit: {:?}", exit.code()));
    (told, at_start, at_end)
}

#[tokio::test]
async fn a_ring_is_used_under_uring_none_exists_under_plain_and_nobody_else_sees_a_difference() {
    private_network();
    let (plain, none, still_none) = transcript("plain").await;
    assert_eq!((none, still_none), (None, None), "plain makes no ring");
    let probe = Agent::builder("/".as_ref(), "/nonexistent".as_ref(), "").flag("--io", "uring").start();
    let refused = {
        let mut probe = probe.unwrap();
        // An empty configuration ends it at once: with 3 where the ring is allowed, with 1 where it is not.
        probe.wait().unwrap().code() == Some(1)
    };
    if !available("io_uring", if refused { Err("refused by this machine") } else { Ok(()) }) {
        return;
    }
    let (uring, at_start, at_end) = transcript("uring").await;
    assert_eq!(uring, plain);
    let (at_start, at_end) = (at_start.expect("a ring"), at_end.expect("a ring"));
    assert!(at_start > 0 && at_end > at_start, "{at_start} submissions at the start, {at_end} in the end");
    let (auto, ring, _) = transcript("auto").await;
    assert_eq!(auto, plain);
    assert!(ring.is_some_and(|submitted| submitted > 0), "auto prefers the ring");
}
