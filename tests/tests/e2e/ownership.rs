//! Who owns what: the kubelet says so, and nothing else does.

use crate::scene::*;
use rustix::process::Signal;
use std::{
    fs,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Health, Kubelet, KubeletVersion, Phase, Plugin, PodSpec, Sources},
    node::Node,
};
use vfiod_tests::{Agent, agent::PATIENCE};

/// Two cards, all four functions under one resource: a claimed one shows at once in its sibling.
fn node() -> Node {
    gpu_with_audio(gpu_with_audio(Node::builder(), "0000:10:00", 10), "0000:20:00", 20).build().unwrap()
}

fn config() -> String {
    pci_config(&[(GPU_ID, GPU), (AUDIO_ID, GPU)])
}

fn vm(name: &str) -> PodSpec {
    PodSpec::new("vms", name).container("compute", [(GPU, 1)])
}

async fn all_listed(kubelet: &Kubelet) {
    kubelet.wait_for("four devices", PATIENCE, |state| state.allocatable(GPU) == 4).await.unwrap();
}

async fn one_withheld(kubelet: &Kubelet) {
    kubelet.wait_for("the sibling is withheld", PATIENCE, |state| state.allocatable(GPU) == 3).await.unwrap();
}

#[tokio::test]
async fn the_first_message_of_a_killed_and_restarted_agent_is_already_true() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        let (node, folder) = (node(), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).version(version).start().await.unwrap();
        let start = || Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
        let mut agent = start();
        all_listed(&kubelet).await;
        let pod = kubelet.admit(vm("a")).await.unwrap();
        one_withheld(&kubelet).await;
        let owned = pod.device_ids()[0].clone();
        let sibling = kubelet.look(|state| ids(state, GPU, Health::Unhealthy))[0].clone();
        for with_kubelet in [true, false, true] {
            agent.signal(Signal::KILL).unwrap();
            agent.wait().unwrap();
            let seen = kubelet.watch(GPU).len();
            if !with_kubelet {
                kubelet.kill();
            }
            agent = start();
            if !with_kubelet {
                agent.wait_for_log("found").unwrap();
                kubelet.start_again().await.unwrap();
            }
            kubelet
                .wait_for("its first message", PATIENCE, |state| {
                    state.is_connected(GPU) && state.listings(GPU).len() > seen
                })
                .await
                .unwrap();
            let first = &kubelet.watch(GPU)[seen];
            assert_eq!((first.healthy, first.unhealthy), (3, 1), "the first message: {first:?}");
            assert_eq!(kubelet.look(|state| state.health(GPU, &owned)), Some(Health::Healthy));
            assert_eq!(kubelet.look(|state| state.health(GPU, &sibling)), Some(Health::Unhealthy));
        }
        kubelet.start_container(pod.uid(), "compute").await.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_went_while_the_agent_was_away_is_still_listed_for_its_owner() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let start = || Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
    let mut agent = start();
    all_listed(&kubelet).await;
    let pod = kubelet.admit(vm("a")).await.unwrap();
    let owned = pod.device_ids()[0].clone();
    agent.terminate().unwrap();
    node.unplug(&owned).unwrap();
    let seen = kubelet.watch(GPU).len();
    let _agent = start();
    kubelet.wait_for("its first message", PATIENCE, |state| state.listings(GPU).len() > seen).await.unwrap();
    assert_eq!(
        kubelet.look(|state| state.health(GPU, &owned)),
        Some(Health::Unhealthy),
        "not hidden, as if it were well"
    );
    assert_eq!(kubelet.look(|state| state.pod_status(pod.uid()))[&owned], Health::Unhealthy);
}

#[tokio::test]
async fn a_restarting_kubelet_that_lists_no_pods_yet_releases_nothing() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &config()).flag("--rescan", "200ms").start().unwrap();
    all_listed(&kubelet).await;
    kubelet.admit(vm("a")).await.unwrap();
    one_withheld(&kubelet).await;
    kubelet.set_sources(Sources::WhenTold);
    kubelet.restart().await.unwrap();
    let (seen, calls) = (kubelet.watch(GPU).len(), kubelet.look(|state| state.pod_resources_calls().len()));
    kubelet
        .wait_for("PodResources was asked often", PATIENCE, |state| {
            state.pod_resources_calls().len() > calls + 8 && state.is_connected(GPU)
        })
        .await
        .unwrap();
    assert_eq!(kubelet.allocatable(GPU), 3);
    assert!(kubelet.watch(GPU).iter().skip(seen).all(|list| list.healthy == 3));
    kubelet.sources_ready().await;
    assert_eq!(kubelet.allocatable(GPU), 3);
}

#[tokio::test]
async fn one_source_is_enough_to_know_owners_and_without_any_the_last_state_holds() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let agent = Agent::builder(node.root(), folder.path(), &config()).flag("--rescan", "200ms").start().unwrap();
    all_listed(&kubelet).await;

    kubelet.refuse_pod_resources(true);
    let pod = kubelet.admit(vm("by-uid")).await.unwrap();
    one_withheld(&kubelet).await;
    agent.wait_for_log("PodResources").unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    let sibling = kubelet.look(|state| ids(state, GPU, Health::Unhealthy));
    let plugin = Plugin::dial(kubelet.plugin_dir().join(&sockets(&kubelet)[0]), PATIENCE).await.unwrap();
    let refused = plugin.pre_start(sibling).await.unwrap_err();
    assert!(refused.message().contains("pod vms/by-uid"), "the folder of the pod's logs names it: {refused:?}");

    // Neither says anything now: the pod ends, and nobody can know.
    let checkpoint = kubelet.plugin_dir().join("kubelet_internal_checkpoint");
    fs::write(&checkpoint, "{\"Data\":").unwrap();
    agent.wait_for_log("is not understood").unwrap();
    kubelet.finish_pod(pod.uid());
    let calls = kubelet.look(|state| state.pod_resources_calls().len());
    kubelet
        .wait_for("several more looks", PATIENCE, |state| state.pod_resources_calls().len() > calls + 5)
        .await
        .unwrap();
    assert_eq!(kubelet.allocatable(GPU), 3, "what cannot be read frees nothing");

    kubelet.refuse_pod_resources(false);
    all_listed(&kubelet).await;
}

#[tokio::test]
async fn a_source_that_hangs_does_not_keep_the_registration_waiting() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    fs::remove_file(kubelet.pod_resources_socket()).unwrap();
    let _hung = UnixListener::bind(kubelet.pod_resources_socket()).unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
    all_listed(&kubelet).await;
    let pod = kubelet.admit(vm("a")).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.expect("the checkpoint says who it is");
}

#[tokio::test]
async fn a_claim_that_no_pod_turns_out_to_have_is_given_up() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    age(&kubelet);
    let config = format!("{}{}", config(), "  - {pciVendorSelector: \"1234:5678\", resourceName: \"a.com/nothing\"}\n");
    let _agent = Agent::builder(node.root(), folder.path(), &config).start().unwrap();
    all_listed(&kubelet).await;
    kubelet.wait_for("the empty resource", PATIENCE, |state| state.has_resource("a.com/nothing")).await.unwrap();
    // The first resource is answered, the second fails: the pod is rejected.
    let spec = PodSpec::new("vms", "a").container("compute", [(GPU, 1), ("a.com/nothing", 1)]);
    kubelet.admit(spec).await.unwrap_err();
    one_withheld(&kubelet).await;
    let begun = Instant::now();
    all_listed(&kubelet).await;
    assert!(begun.elapsed() > Duration::from_secs(5), "not before the kubelet had time to write its checkpoint");
}

#[tokio::test]
async fn ids_that_are_sent_again_are_granted_again() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    age(&kubelet);
    let _agent = Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
    all_listed(&kubelet).await;
    let pod = kubelet.admit(vm("a")).await.unwrap();
    one_withheld(&kubelet).await;
    let plugin = Plugin::dial(kubelet.plugin_dir().join(&sockets(&kubelet)[0]), PATIENCE).await.unwrap();
    for _ in 0..3 {
        let again = plugin.allocate([pod.device_ids()]).await.unwrap();
        assert_eq!(again[0].devices.len(), 2);
    }
    // A finished pod's device goes to the next one inside its admission, before vfiod can know.
    for next in 0..5 {
        kubelet.finish_pod(pod.uid());
        let spec = PodSpec::new("vms", &format!("next-{next}")).container("compute", [(GPU, 2)]);
        let next = kubelet.admit(spec).await.unwrap();
        kubelet.start_container(next.uid(), "compute").await.unwrap();
        kubelet.finish_pod(next.uid());
    }
}

#[tokio::test]
async fn podresources_is_not_asked_more_often_than_it_allows() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).start().await.unwrap();
    let _agent = Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
    all_listed(&kubelet).await;
    let plugin = Plugin::dial(kubelet.plugin_dir().join(&sockets(&kubelet)[0]), PATIENCE).await.unwrap();
    let (begun, before) = (Instant::now(), kubelet.look(|state| state.pod_resources_calls().len()));
    while begun.elapsed() < Duration::from_secs(1) {
        plugin.allocate([vec!["0000:10:00.0".to_owned()]]).await.unwrap();
    }
    let calls = kubelet.look(|state| state.pod_resources_calls().len()) - before;
    assert!((1..=60).contains(&calls), "{calls} calls in a second");
}

#[tokio::test]
async fn after_a_reboot_pods_are_admitted_again_on_their_devices() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    let start = || Agent::builder(node.root(), folder.path(), &config()).start().unwrap();
    let mut agent = start();
    all_listed(&kubelet).await;
    let pod = kubelet.admit(vm("a")).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    kubelet.set_sources(Sources::WhenTold);
    agent.signal(Signal::KILL).unwrap();
    agent.wait().unwrap();
    kubelet.reboot().await.unwrap();
    let _agent = start();
    kubelet
        .wait_for("what is owned is Healthy", PATIENCE, |state| state.is_connected(GPU) && state.allocatable(GPU) == 3)
        .await
        .unwrap();
    kubelet.sources_ready().await;
    assert_eq!(kubelet.look(|state| state.phase(pod.uid())), Some(Phase::Running));
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
}
