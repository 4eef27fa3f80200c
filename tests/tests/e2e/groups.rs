//! IOMMU groups: one owner each, whatever the kubelet allocates in which order.

use crate::scene::*;
use std::time::Duration;
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{AdmissionError, ContainerError, Health, Kubelet, KubeletVersion, Plugin, PodSpec},
    node::{Node, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

/// `count` cards of a GPU and an audio function each: `0000:10:00`, `0000:11:00`, …
fn cards(count: u32) -> Node {
    let cards = (0..count).fold(Node::builder(), |builder, card| {
        gpu_with_audio(builder, &format!("0000:{:02x}:00", 0x10 + card), 100 + card)
    });
    cards.build().unwrap()
}

async fn started(node: &Node, folder: &TempDir, config: &str) -> (Kubelet, Agent) {
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let agent = Agent::builder(node.root(), folder.path(), config).start().unwrap();
    kubelet
        .wait_for("all devices are listed", PATIENCE, |state| {
            let listed: usize = state.resources().iter().map(|name| state.allocatable(name)).sum();
            listed == node.devices().len()
        })
        .await
        .unwrap();
    (kubelet, agent)
}

fn refusal(result: Result<vfiod_simulator::kubelet::RunOptions, ContainerError>) -> (tonic::Code, String) {
    match result {
        Err(ContainerError::PreStart { status, .. }) => (status.code(), status.message().to_owned()),
        other => panic!("the fence should be shut: {other:?}"),
    }
}

#[tokio::test]
async fn a_pod_that_asks_for_both_functions_gets_a_pair_in_either_order() {
    for version in [KubeletVersion::V1_32, KubeletVersion::Newer] {
        let (node, folder) = (cards(4), TempDir::new().unwrap());
        let kubelet = Kubelet::builder(folder.path()).version(version).start().await.unwrap();
        age(&kubelet);
        let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        kubelet
            .wait_for("four cards", PATIENCE, |state| state.allocatable(GPU) == 4 && state.allocatable(AUDIO) == 4)
            .await
            .unwrap();
        let mut running: Vec<String> = Vec::new();
        for round in 0..60 {
            // Up to four pods at once, ending in another order than they began.
            if running.len() == 4 || round % 5 == 4 {
                kubelet.finish_pod(&running.remove(round % running.len()));
            }
            let order = if round % 3 == 0 { [(AUDIO, 1), (GPU, 1)] } else { [(GPU, 1), (AUDIO, 1)] };
            let spec = PodSpec::new("vms", &format!("vm-{round}")).container("compute", order);
            let pod = kubelet.admit(spec).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            let ids = pod.device_ids();
            assert_eq!(ids[0].split('.').next(), ids[1].split('.').next(), "round {round}: a pair");
            kubelet
                .start_container(pod.uid(), "compute")
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            running.push(pod.uid().to_owned());
        }
    }
}

#[tokio::test]
async fn the_functions_of_one_card_may_be_in_two_containers_of_one_pod() {
    let (node, folder) = (cards(3), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, &usual_config()).await;
    let spec = PodSpec::new("vms", "vm").container("compute", [(GPU, 1)]).container("sound", [(AUDIO, 1)]);
    let pod = kubelet.admit(spec).await.unwrap();
    let ids = pod.device_ids();
    assert_eq!(ids[0].split('.').next(), ids[1].split('.').next(), "a pair");
    for container in ["compute", "sound"] {
        kubelet.start_container(pod.uid(), container).await.unwrap();
    }
}

#[tokio::test]
async fn the_group_claimed_last_is_completed_first_whatever_the_order_of_the_ids() {
    let (node, folder) = (cards(4), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, &usual_config()).await;
    let plugin = async |resource: &str| {
        let file = resource.replace('/', "_");
        let name = sockets(&kubelet).into_iter().find(|name| name.contains(&file)).unwrap();
        Plugin::dial(kubelet.plugin_dir().join(name), PATIENCE).await.unwrap()
    };
    let (gpu, audio) = (plugin(GPU).await, plugin(AUDIO).await);
    let id = |card: u32, function: u32| format!("0000:{:02x}:00.{function}", 0x10 + card);
    for card in [2, 0, 3, 1] {
        gpu.allocate([vec![id(card, 0)]]).await.unwrap();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            let available = order.map(|card| id(card, 1)).to_vec();
            let preferred = audio.preferred_allocation(available, Vec::new(), 1).await.unwrap();
            assert_eq!(preferred, [id(card, 1)], "the audio function of the GPU that was allocated last");
        }
    }
}

#[tokio::test]
async fn of_two_pods_that_take_one_function_each_exactly_one_starts() {
    for order in [[GPU, AUDIO], [AUDIO, GPU]] {
        let (node, folder) = (cards(1), TempDir::new().unwrap());
        let (kubelet, _agent) = started(&node, &folder, &usual_config()).await;
        let first = kubelet.admit(PodSpec::new("vms", "first").container("compute", [(order[0], 1)])).await.unwrap();
        let second = kubelet.admit(PodSpec::new("vms", "second").container("compute", [(order[1], 1)])).await.unwrap();
        for _ in 0..3 {
            let (code, message) = refusal(kubelet.start_container(second.uid(), "compute").await);
            assert_eq!(code, tonic::Code::Unavailable, "the kubelet tries again: {message}");
            assert!(message.contains("vms/first") && message.contains("IOMMU group"), "{message}");
        }
        kubelet.start_container(first.uid(), "compute").await.unwrap();
        refusal(kubelet.start_container(second.uid(), "compute").await);
        kubelet.start_container(first.uid(), "compute").await.expect("its restart is not disturbed by the younger");
        kubelet.finish_pod(first.uid());
        starts_in_the_end(&kubelet, second.uid()).await;
    }
}

#[tokio::test]
async fn a_restarted_agent_still_knows_who_came_first() {
    for order in [[GPU, AUDIO], [AUDIO, GPU]] {
        let (node, folder) = (cards(1), TempDir::new().unwrap());
        let (kubelet, agent) = started(&node, &folder, &usual_config()).await;
        let first = kubelet.admit(PodSpec::new("vms", "z").container("compute", [(order[0], 1)])).await.unwrap();
        let second = kubelet.admit(PodSpec::new("vms", "a").container("compute", [(order[1], 1)])).await.unwrap();
        kubelet.start_container(first.uid(), "compute").await.unwrap();
        drop(agent);
        let _agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
        kubelet
            .wait_for("the agent is back", PATIENCE, |state| state.is_connected(GPU) && state.is_connected(AUDIO))
            .await
            .unwrap();
        let (_, message) = refusal(kubelet.start_container(second.uid(), "compute").await);
        assert!(message.contains("vms/z"), "{message}");
        kubelet.start_container(first.uid(), "compute").await.expect("its restart is not disturbed by the younger");
    }
}

#[tokio::test]
async fn a_sibling_in_another_resource_is_withheld_once_its_owner_is_proved_and_offered_when_it_is_free() {
    let (node, folder) = (cards(2), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, &usual_config()).await;
    let pod = kubelet.admit(PodSpec::new("vms", "gpu-only").container("compute", [(GPU, 1)])).await.unwrap();
    let sibling = pod.device_ids()[0].replace(".0", ".1");
    let sibling = sibling.as_str();
    assert_eq!(
        kubelet.look(|state| state.health(AUDIO, sibling)),
        Some(Health::Healthy),
        "the pod may ask for it next"
    );
    kubelet
        .wait_for("the sibling is withheld", PATIENCE, |state| state.health(AUDIO, sibling) == Some(Health::Unhealthy))
        .await
        .unwrap();
    agent.wait_for_log("pod vms/gpu-only").unwrap();
    assert_eq!(kubelet.allocatable(GPU), 2, "what is owned stays Healthy");

    // Proved to be another pod's: no second pod is even admitted on it.
    let plugin = sockets(&kubelet).into_iter().find(|name| name.contains("AUDIO")).unwrap();
    let plugin = Plugin::dial(kubelet.plugin_dir().join(plugin), PATIENCE).await.unwrap();
    let refused = plugin.allocate([vec![sibling.to_owned()]]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("vms/gpu-only") && refused.message().contains(sibling), "{refused:?}");

    kubelet.finish_pod(pod.uid());
    kubelet.wait_for("the sibling is offered again", PATIENCE, |state| state.allocatable(AUDIO) == 2).await.unwrap();
}

#[tokio::test]
async fn a_sibling_in_the_same_resource_is_withheld_at_once_and_offered_when_it_is_free() {
    let (node, folder) = (cards(2), TempDir::new().unwrap());
    let config = pci_config(&[(GPU_ID, GPU), (AUDIO_ID, GPU)]);
    let (kubelet, agent) = started(&node, &folder, &config).await;
    assert_eq!(kubelet.allocatable(GPU), 4);
    let pod = kubelet.admit(PodSpec::new("vms", "vm").container("compute", [(GPU, 1)])).await.unwrap();
    kubelet
        .wait_for("the sibling is Unhealthy", Duration::from_millis(900), |state| state.allocatable(GPU) == 3)
        .await
        .unwrap();
    agent.wait_for_log("is in use").unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();

    let whole = kubelet.admit(PodSpec::new("vms", "both").container("compute", [(GPU, 2)])).await.unwrap();
    assert_ne!(whole.device_ids()[0].split('.').next(), pod.device_ids()[0].split('.').next());
    kubelet.start_container(whole.uid(), "compute").await.unwrap();
    let none = kubelet.admit(PodSpec::new("vms", "late").container("compute", [(GPU, 1)])).await;
    assert!(
        matches!(none, Err(AdmissionError::Rejected(_))),
        "one unit is left in name, and it is not given: {none:?}"
    );

    kubelet.finish_pod(pod.uid());
    kubelet.wait_for("all four are offered again", PATIENCE, |state| state.allocatable(GPU) == 4).await.unwrap();
}

#[tokio::test]
async fn whole_groups_are_kept_together_and_lone_devices_spare_them() {
    let both = pci_config(&[(GPU_ID, GPU), (AUDIO_ID, GPU)]);
    let node = gpu_with_audio(Node::builder(), "0000:10:00", 10);
    let node = gpu_with_audio(node, "0000:20:00", 20)
        .pci(PciSpec::new("0000:30:00.0", GPU_ID).driver("vfio-pci").group(30))
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    let (kubelet, _agent) = started(&node, &folder, &both).await;
    let one = kubelet.admit(PodSpec::new("vms", "one").container("compute", [(GPU, 1)])).await.unwrap();
    assert_eq!(one.device_ids(), ["0000:30:00.0"], "the lone device, so that no group is split");
    let two = kubelet.admit(PodSpec::new("vms", "two").container("compute", [(GPU, 2)])).await.unwrap();
    assert_eq!(two.device_ids(), ["0000:10:00.0", "0000:10:00.1"], "one whole group");
    assert_eq!(kubelet.allocatable(GPU), 5, "nothing is withheld");
}

#[tokio::test]
async fn a_lone_device_of_any_numa_node_is_better_than_splitting_a_group() {
    let both = pci_config(&[(GPU_ID, GPU), (AUDIO_ID, GPU)]);
    let node = Node::builder()
        .pci(PciSpec::new("0000:10:00.0", GPU_ID).driver("vfio-pci").group(10).numa(0))
        .pci(PciSpec::new("0000:10:00.1", AUDIO_ID).driver("vfio-pci").group(10).numa(0))
        .pci(PciSpec::new("0000:80:00.0", GPU_ID).driver("vfio-pci").group(80).numa(1))
        .pci(PciSpec::new("0000:81:00.0", GPU_ID).driver("vfio-pci").group(81).numa(1))
        .pci(PciSpec::new("0000:82:00.0", GPU_ID).driver("vfio-pci").group(82).numa(1))
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    let (kubelet, _agent) = started(&node, &folder, &both).await;
    let one = kubelet.admit(PodSpec::new("vms", "one").container("compute", [(GPU, 1)])).await.unwrap();
    assert_eq!(one.device_ids(), ["0000:80:00.0"]);
    let two = kubelet.admit(PodSpec::new("vms", "two").container("compute", [(GPU, 2)])).await.unwrap();
    let numa = |id: &String| kubelet.devices(GPU)[id].numa.clone();
    assert_eq!(numa(&two.device_ids()[0]), numa(&two.device_ids()[1]), "one NUMA node");
}

#[tokio::test]
async fn an_init_container_hands_its_devices_to_the_next_and_nobody_else_gets_them() {
    let (node, folder) = (cards(2), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, &usual_config()).await;
    let spec = PodSpec::new("vms", "vm")
        .init_container("prepare", [(GPU, 1)])
        .init_container("check", [(AUDIO, 1)])
        .container("compute", [(GPU, 1), (AUDIO, 1)]);
    let pod = kubelet.admit(spec).await.unwrap();
    assert_eq!(pod.device_ids().len(), 2, "re-used: {:?}", pod.device_ids());
    for container in ["prepare", "check", "compute"] {
        kubelet.start_container(pod.uid(), container).await.unwrap();
    }
    let other = kubelet.admit(PodSpec::new("vms", "other").container("compute", [(GPU, 1), (AUDIO, 1)])).await.unwrap();
    kubelet.start_container(other.uid(), "compute").await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.expect("a restart of the container");
}

#[tokio::test]
async fn a_restarted_agent_still_knows_which_pod_came_first() {
    for (round, order) in [[AUDIO, GPU], [GPU, AUDIO], [AUDIO, GPU], [GPU, AUDIO]].into_iter().enumerate() {
        let (node, folder) = (cards(1), TempDir::new().unwrap());
        let (kubelet, mut agent) = started(&node, &folder, &usual_config()).await;
        // UIDs say nothing of age.
        let uid = |first: bool| {
            format!("{}0000000-0000-4000-8000-000000000000", if first == (round < 2) { 'f' } else { '1' })
        };
        let pod = |name, resource| PodSpec::new("vms", name).container("compute", [(resource, 1)]);
        let first = kubelet.admit(pod("first", order[0]).uid(&uid(true))).await.unwrap();
        let second = kubelet.admit(pod("second", order[1]).uid(&uid(false))).await.unwrap();
        kubelet.start_container(first.uid(), "compute").await.unwrap();
        for kubelet_too in [false, true] {
            agent.signal(rustix::process::Signal::KILL).unwrap();
            agent.wait().unwrap();
            if kubelet_too {
                kubelet.restart().await.unwrap();
                age(&kubelet);
            }
            agent = Agent::builder(node.root(), folder.path(), &usual_config()).start().unwrap();
            kubelet
                .wait_for("both are served", PATIENCE, |state| state.is_connected(GPU) && state.is_connected(AUDIO))
                .await
                .unwrap();
            let (_, message) = refusal(kubelet.start_container(second.uid(), "compute").await);
            assert!(message.contains("first"), "round {round}: {message}");
            kubelet.start_container(first.uid(), "compute").await.unwrap();
        }
        kubelet.finish_pod(first.uid());
        starts_in_the_end(&kubelet, second.uid()).await;
    }
}

#[tokio::test]
async fn of_pods_that_come_and_go_no_two_ever_run_on_one_group() {
    let (node, folder) = (cards(3), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, &usual_config()).await;
    let card = |id: &String| id.split('.').next().unwrap().to_owned();
    let mut waiting: Vec<(String, Vec<String>)> = Vec::new();
    let mut running: Vec<(String, Vec<String>)> = Vec::new();
    for round in 0..40_usize {
        let wish: &[(&str, usize)] = match round * 7 % 5 {
            0 => &[(GPU, 1)],
            1 => &[(AUDIO, 1)],
            2 => &[(AUDIO, 1), (GPU, 1)],
            _ => &[(GPU, 1), (AUDIO, 1)],
        };
        let spec = PodSpec::new("vms", &format!("vm-{round}")).container("compute", wish.iter().copied());
        if let Ok(pod) = kubelet.admit(spec).await {
            let mut cards: Vec<String> = pod.device_ids().iter().map(card).collect();
            cards.dedup();
            waiting.push((pod.uid().to_owned(), cards));
        }
        for (uid, cards) in std::mem::take(&mut waiting) {
            match kubelet.start_container(&uid, "compute").await {
                Ok(_) => {
                    let shared = running.iter().find(|(_, others)| others.iter().any(|card| cards.contains(card)));
                    assert_eq!(shared, None, "round {round}: {uid} runs on {cards:?}, too");
                    running.push((uid, cards));
                }
                Err(ContainerError::PreStart { status, .. }) if status.code() == tonic::Code::Unavailable => {
                    waiting.push((uid, cards));
                }
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        if round % 3 == 2 && !running.is_empty() {
            kubelet.finish_pod(&running.remove(round % running.len()).0);
        }
    }
    // When all others have ended, each pod that waits comes to its turn: nobody waits for ever.
    while !waiting.is_empty() {
        for (uid, _) in running.drain(..) {
            kubelet.finish_pod(&uid);
        }
        let before = waiting.len();
        for (uid, cards) in std::mem::take(&mut waiting) {
            match kubelet.start_container(&uid, "compute").await {
                Ok(_) => running.push((uid, cards)),
                Err(_) => waiting.push((uid, cards)),
            }
        }
        assert!(waiting.len() < before, "{waiting:?} wait for each other");
    }
}
