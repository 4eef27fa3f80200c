//! Start, restarts, wipes, signals and neighbours: the resource is served whatever the kubelet does.

use crate::scene::*;
use rustix::process::Signal;
use std::{
    fs,
    os::unix::net::{UnixListener, UnixStream},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::kubelet::{Kubelet, KubeletVersion, State};
use vfiod_tests::{Agent, agent::PATIENCE};

const BOTH: [KubeletVersion; 2] = [KubeletVersion::V1_32, KubeletVersion::Newer];

#[tokio::test]
async fn restarts_and_kills_leave_one_registration_and_one_socket_a_resource() {
    for version in BOTH {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        let agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        let descriptors = || fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
        let mut at_first = 0;
        for restart in 1..=20 {
            // A registration counts when it is answered, a moment after the connection.
            let all = |state: &State| {
                state.allocatable(QAT) == 2
                    && [GPU, AUDIO, QAT]
                        .iter()
                        .all(|name| state.is_connected(name) && state.registrations(name) >= restart)
            };
            kubelet.wait_for(&format!("capacity at start {restart}"), PATIENCE, all).await.unwrap();
            assert_eq!(kubelet.registrations(QAT), restart, "one registration a start, not more");
            assert_eq!(sockets(&kubelet).len(), 3, "{:?}", sockets(&kubelet));
            if restart == 1 {
                at_first = descriptors();
            }
            if restart % 2 == 0 {
                kubelet.stop().await;
            }
            kubelet.restart().await.unwrap();
        }
        let begun = Instant::now();
        while descriptors() > at_first + 3 {
            assert!(begun.elapsed() < PATIENCE, "{} descriptors, {at_first} at first", descriptors());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_kubelet_ends_is_followed_by_one_new_registration_at_once() {
    for version in BOTH {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        // The resources register one by one: those that are not meant must be through before they are counted.
        let all = |state: &State| {
            state.allocatable(QAT) == 2
                && [GPU, AUDIO, QAT].iter().all(|name| state.is_connected(name) && state.registrations(name) == 1)
        };
        kubelet.wait_for("all resources", PATIENCE, all).await.unwrap();
        let others = kubelet.registrations(GPU);
        for round in 1..=8 {
            kubelet.disconnect(QAT).await;
            let what = format!("{version:?}: back after disconnection {round}");
            let back = |state: &State| state.allocatable(QAT) == 2 && state.registrations(QAT) > round;
            kubelet.wait_for(&what, PATIENCE, back).await.unwrap();
            assert_eq!(kubelet.registrations(QAT), 1 + round);
        }
        assert_eq!(kubelet.registrations(GPU), others, "other resources are not touched");
    }
}

#[tokio::test]
async fn a_wiped_folder_is_noticed_without_a_restart() {
    for version in BOTH {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        let all = [GPU, AUDIO, QAT];
        kubelet
            .wait_for("all resources", PATIENCE, |state| all.iter().all(|name| state.listings(name).len() == 1))
            .await
            .unwrap();
        kubelet.wipe_plugin_dir(true).unwrap();
        kubelet
            .wait_for("all resources are registered again", PATIENCE, |state| {
                all.iter().all(|name| state.registrations(name) == 2 && state.is_connected(name))
                    && state.allocatable(QAT) == 2
            })
            .await
            .unwrap();
        assert_eq!(sockets(&kubelet).len(), 3);
    }
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_again_is_found_again() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let mut agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    for all in [false, true, false] {
        kubelet.kill();
        fs::remove_dir_all(kubelet.plugin_dir()).unwrap();
        if all {
            fs::remove_dir_all(folder.path()).unwrap();
        }
        agent.wait_for_log("waiting for the kubelet").unwrap();
        kubelet.start_again().await.unwrap();
        kubelet
            .wait_for("all three resources again", PATIENCE, |state| {
                state.allocatable(QAT) == 2
                    && state.resources().iter().filter(|name| state.is_connected(name)).count() == 3
            })
            .await
            .unwrap();
        assert_eq!(sockets(&kubelet).len(), 3);
    }
    assert!(agent.is_running().unwrap());
}

#[tokio::test]
async fn a_stopping_agent_closes_its_streams_removes_its_sockets_and_zeroes_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
        let mut agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        agent.signal(signal).unwrap();
        assert_eq!(agent.wait().unwrap().code(), Some(0));
        kubelet.wait_for("the streams have ended", PATIENCE, |state| !state.is_connected(QAT)).await.unwrap();
        assert_eq!(kubelet.capacity(QAT), 2, "the kubelet keeps the capacity for the next agent");
        assert!(kubelet.watch(QAT).iter().all(|list| list.healthy == 2));
        assert_eq!(names(&kubelet.plugin_dir()), ["kubelet.sock", "kubelet_internal_checkpoint"]);
        assert_eq!(agent.stdout(), "", "the log goes to stderr");
    }
}

#[tokio::test]
async fn an_agent_that_is_stopped_while_it_starts_or_registers_exits_cleanly() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    // A kubelet that accepts the connection and never answers.
    fs::create_dir_all(folder.path().join("device-plugins")).unwrap();
    let hung = UnixListener::bind(folder.path().join("device-plugins/kubelet.sock")).unwrap();
    let mut agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    hung.accept().unwrap();
    assert_eq!(agent.terminate().unwrap().code(), Some(0));
    assert_eq!(names(&folder.path().join("device-plugins")), ["kubelet.sock"]);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_waited_out() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let plugins = folder.path().join("device-plugins");
    fs::create_dir_all(&plugins).unwrap();
    drop(UnixListener::bind(plugins.join("kubelet.sock")).unwrap());
    let agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    agent.wait_for_log("Connection refused").unwrap();
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    assert_eq!(sockets(&kubelet).len(), 3, "failed attempts leave no sockets");
}

#[tokio::test]
async fn a_kubelet_that_was_killed_gets_one_socket_a_resource_when_it_is_back_and_none_before() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    let all = |state: &State| [GPU, AUDIO].iter().all(|name| state.is_connected(name)) && state.allocatable(QAT) == 2;
    kubelet.wait_for("all resources", PATIENCE, all).await.unwrap();
    let made = Made::watch(&kubelet.plugin_dir());
    kubelet.kill();
    assert!(kubelet.plugin_dir().join("kubelet.sock").exists(), "a killed kubelet leaves its socket behind");
    // Long enough for some attempts to find nobody.
    tokio::time::sleep(Duration::from_millis(400)).await;
    kubelet.start_again().await.unwrap();
    kubelet.wait_for("all resources again", PATIENCE, all).await.unwrap();
    let sockets: Vec<_> = made.names().into_iter().filter(|name| name.starts_with("vfiod-")).collect();
    assert_eq!(sockets.len(), 3, "{sockets:?}");
}

/// What is made in a folder.
struct Made(rustix::fd::OwnedFd);

impl Made {
    fn watch(folder: &std::path::Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&watch, folder, WatchFlags::CREATE).unwrap();
        Self(watch)
    }

    fn names(&self) -> Vec<String> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut events = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = events.next() {
            names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        names
    }
}

#[tokio::test]
async fn two_agents_overlap_without_a_gap_and_without_each_others_sockets() {
    for version in BOTH {
        let (node, folder) = (two_qats(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        let start = || Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        let mut old = start();
        kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
        let mut new = start();
        kubelet
            .wait_for("both are registered", PATIENCE, |state| {
                [GPU, AUDIO, QAT].iter().all(|name| state.registrations(name) >= 2)
            })
            .await
            .unwrap();
        assert_eq!(sockets(&kubelet).len(), 6, "neither took the other's sockets away");
        assert_eq!(old.terminate().unwrap().code(), Some(0));
        kubelet
            .wait_for("the new one serves alone", PATIENCE, |state| {
                [GPU, AUDIO, QAT].iter().all(|name| state.is_connected(name)) && state.allocatable(QAT) == 2
            })
            .await
            .unwrap();
        assert_eq!(sockets(&kubelet).len(), 3);
        assert!(kubelet.watch(QAT).iter().all(|list| list.healthy == 2));
        assert!(new.is_running().unwrap());
    }
}

#[tokio::test]
async fn sockets_of_dead_agents_are_removed_and_nobody_elses() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let mut dead = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    dead.signal(Signal::KILL).unwrap();
    dead.wait().unwrap();
    let stale = sockets(&kubelet);
    assert_eq!(stale.len(), 3);

    let at = |name: &str| kubelet.plugin_dir().join(name);
    let foreign = UnixListener::bind(at("kubevirt-kvm.sock")).unwrap();
    drop(UnixListener::bind(at("nvidia-gone.sock")).unwrap());
    fs::write(at("vfiod-notes.sock"), "a file").unwrap();
    // An agent that is alive but busy: its queue of connections is full, so that the next connection would block.
    let busy = UnixListener::bind(at("vfiod-busy.sock")).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let _waiting = UnixStream::connect(at("vfiod-busy.sock")).unwrap();

    let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    kubelet
        .wait_for("the new agent serves", PATIENCE, |state| {
            state.registrations(QAT) == 2 && state.allocatable(QAT) == 2
        })
        .await
        .unwrap();
    let left = names(&kubelet.plugin_dir());
    for name in &stale {
        assert!(!left.contains(name), "{name} was left in {left:?}");
    }
    for name in ["kubevirt-kvm.sock", "nvidia-gone.sock", "vfiod-notes.sock", "vfiod-busy.sock", "kubelet.sock"] {
        assert!(left.iter().any(|entry| entry == name), "{name} was taken out of {left:?}");
    }
    drop(foreign);
}

#[tokio::test]
async fn long_paths_give_short_names_and_too_long_ones_a_clear_message() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let resource = format!("example.com/{}", "a".repeat(63));
    let long = folder.path().join("k".repeat(60 - folder.path().as_os_str().len().min(59)));
    let kubelet = Kubelet::builder(&long).start().await.unwrap();
    let _agent = Agent::builder(node.root(), &long, &pci_config(&[(QAT_ID, &resource)])).start().unwrap();
    kubelet.wait_for("two devices", PATIENCE, |state| state.allocatable(&resource) == 2).await.unwrap();
    let socket = kubelet.plugin_dir().join(&sockets(&kubelet)[0]);
    assert!(socket.as_os_str().len() <= 107, "{}", socket.display());

    let too_long = folder.path().join("k".repeat(90 - folder.path().as_os_str().len().min(89)));
    fs::create_dir_all(too_long.join("device-plugins")).unwrap();
    fs::write(too_long.join("device-plugins/kubelet.sock"), "").unwrap();
    let agent = Agent::builder(node.root(), &too_long, &pci_config(&[(QAT_ID, &resource)])).start().unwrap();
    agent.wait_for_log("at most 107").unwrap();
    agent.wait_for_log("--kubelet-dir").unwrap();
}

#[tokio::test]
async fn both_ways_in_which_kubelets_address_a_plugin_are_answered() {
    use vfiod_simulator::kubelet::{Answer, call_with_authority};
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
    kubelet.wait_for("two QATs", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
    let socket = kubelet.plugin_dir().join(&sockets(&kubelet)[0]);
    for authority in ["localhost", socket.to_str().unwrap()] {
        assert_eq!(call_with_authority(&socket, authority, PATIENCE).await.unwrap(), Answer::Headers, "{authority}");
    }
}
