//! Registration by the kubelet's plugin watcher.

use crate::scene::*;
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Kubelet, KubeletVersion, PodSpec},
    node::Node,
};
use vfiod_tests::{Agent, agent::PATIENCE};

const BOTH: [KubeletVersion; 2] = [KubeletVersion::V1_32, KubeletVersion::Newer];

async fn started(version: KubeletVersion) -> (Node, Kubelet, TempDir) {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path())
        .version(version)
        .host_root(node.root())
        .watcher_pause(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    age(&kubelet);
    (node, kubelet, folder)
}

fn registry(folder: &TempDir) -> PathBuf {
    folder.path().join("plugins_registry")
}

fn agent(node: &Node, folder: &TempDir, mode: &str) -> Agent {
    Agent::builder(node.root(), folder.path(), &pci_config(&[(QAT_ID, QAT)]))
        .flag("--registration", mode)
        .start()
        .unwrap()
}

async fn serves(kubelet: &Kubelet, what: &str) {
    kubelet.wait_for(what, PATIENCE, |state| state.allocatable(QAT) == 2 && state.is_connected(QAT)).await.unwrap();
}

#[tokio::test]
async fn the_watcher_finds_each_resource_once_and_pods_get_their_devices() {
    for version in BOTH {
        let (node, kubelet, folder) = started(version).await;
        let mut agent = agent(&node, &folder, "watcher");
        serves(&kubelet, "found by the watcher").await;
        assert!(sockets(&kubelet).is_empty(), "nothing in the folder of the other way");
        assert_eq!(names(&registry(&folder)).len(), 1);
        let registrations = kubelet.look(|state| state.registration_log().to_vec());
        assert_eq!(registrations.len(), 1, "{registrations:?}");
        assert!(registrations[0].endpoint.starts_with(folder.path().to_str().unwrap()), "an absolute path");
        let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(QAT, 1)])).await.unwrap();
        kubelet.start_container(pod.uid(), "compute").await.unwrap();
        agent.terminate().unwrap();
        assert!(names(&registry(&folder)).is_empty(), "its socket goes with it");
    }
}

#[tokio::test]
async fn a_kubelet_that_restarts_finds_it_again() {
    for version in BOTH {
        let (node, kubelet, folder) = started(version).await;
        let _agent = agent(&node, &folder, "watcher");
        serves(&kubelet, "at first").await;
        for round in 1..=3 {
            kubelet.kill();
            kubelet.start_again().await.unwrap();
            serves(&kubelet, &format!("after restart {round}")).await;
        }
        kubelet.disconnect(QAT).await;
        serves(&kubelet, "after the kubelet ended the stream").await;
        let begun = std::time::Instant::now();
        while names(&registry(&folder)).len() != 1 {
            assert!(begun.elapsed() < PATIENCE, "{:?}", names(&registry(&folder)));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn sockets_of_agents_that_were_killed_are_cleared_away() {
    let (node, kubelet, folder) = started(KubeletVersion::Newer).await;
    let mut first = agent(&node, &folder, "watcher");
    serves(&kubelet, "the first").await;
    first.signal(rustix::process::Signal::KILL).unwrap();
    first.wait().unwrap();
    let left = names(&registry(&folder));
    assert_eq!(left.len(), 1);
    let _second = agent(&node, &folder, "watcher");
    kubelet.wait_for("the second", PATIENCE, |state| state.registrations(QAT) == 2).await.unwrap();
    serves(&kubelet, "the second").await;
    let now = names(&registry(&folder));
    assert!(now.len() == 1 && now != left, "{now:?}");
}

#[tokio::test]
async fn the_socket_is_the_usual_way() {
    let (node, kubelet, folder) = started(KubeletVersion::Newer).await;
    for mode in ["auto", "socket"] {
        let mut agent = agent(&node, &folder, mode);
        serves(&kubelet, mode).await;
        assert_eq!(sockets(&kubelet).len(), 1);
        assert!(names(&registry(&folder)).is_empty());
        agent.terminate().unwrap();
        kubelet.wait_for("it has gone", PATIENCE, |state| !state.is_connected(QAT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_kubelet_that_was_killed_is_waited_for_at_its_socket() {
    let (node, kubelet, folder) = started(KubeletVersion::Newer).await;
    let agent = agent(&node, &folder, "auto");
    serves(&kubelet, "at first").await;
    kubelet.kill();
    let begun = std::time::Instant::now();
    // More tries than a kubelet that listens has before its watcher is tried.
    while agent.log().matches("Connection refused").count() < 6 {
        assert!(begun.elapsed() < PATIENCE, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!agent.log().contains("plugin watcher resource"), "{}", agent.log());
    assert!(names(&registry(&folder)).is_empty());
    kubelet.start_again().await.unwrap();
    serves(&kubelet, "after it is back").await;
    assert_eq!(sockets(&kubelet).len(), 1);
}

#[tokio::test]
async fn where_the_socket_takes_nothing_the_watcher_does() {
    let (node, kubelet, folder) = started(KubeletVersion::Newer).await;
    // Somebody listens there who knows no registration.
    let socket = kubelet.plugin_dir().join("kubelet.sock");
    fs::remove_file(&socket).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let deaf = std::thread::spawn(move || {
        for stream in listener.incoming().take(100) {
            drop(stream);
        }
    });
    let agent = agent(&node, &folder, "auto");
    serves(&kubelet, "found by the watcher").await;
    assert_eq!(names(&registry(&folder)).len(), 1, "{}", agent.log());
    drop(deaf);
}
