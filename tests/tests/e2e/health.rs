//! Health: true at once, in both directions, and never more messages than the kubelet can take.

use crate::scene::*;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vfiod_simulator::{
    kubelet::{Device, Health, Kubelet, Listing, Plugin, PodSpec},
    node::{Node, PciFleet, PciSpec},
};
use vfiod_tests::{Agent, agent::PATIENCE};

const BDF: &str = "0000:3b:00.0";

fn vm(name: &str, resource: &str) -> PodSpec {
    PodSpec::new("vms", name).container("compute", [(resource, 1)])
}

async fn becomes(kubelet: &Kubelet, resource: &str, id: &str, health: Option<Health>) {
    let what = format!("{id} is {health:?}");
    kubelet.wait_for(&what, PATIENCE, |state| state.health(resource, id) == health).await.unwrap();
}

/// A kubelet and an agent for a node, once `count` devices of QAT are allocatable.
async fn started(node: &Node, folder: &TempDir, rescan: &str, count: usize) -> (Kubelet, Agent) {
    let kubelet = Kubelet::builder(folder.path()).host_root(node.root()).start().await.unwrap();
    age(&kubelet);
    let agent = Agent::builder(node.root(), folder.path(), &usual_config()).flag("--rescan", rescan).start().unwrap();
    kubelet.wait_for("its devices", PATIENCE, |state| state.allocatable(QAT) == count).await.unwrap();
    (kubelet, agent)
}

#[tokio::test]
async fn a_missing_node_makes_even_an_owned_device_unhealthy_until_it_is_back() {
    let (node, folder) = (Node::builder().pci(qat(BDF, 11)).build().unwrap(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, "1h", 1).await;
    for owned in [false, true] {
        if owned {
            kubelet.admit(vm("a", QAT)).await.unwrap();
        }
        node.node_gone(11).unwrap();
        becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
        agent.wait_for_log("/dev/vfio/11 is missing").unwrap();
        node.node_back(11).unwrap();
        becomes(&kubelet, QAT, BDF, Some(Health::Healthy)).await;
    }
}

#[tokio::test]
async fn without_the_container_node_nothing_can_be_allocated() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, "1h", 2).await;
    std::fs::rename(node.path("dev/vfio/vfio"), node.path("dev/vfio-hidden")).unwrap();
    kubelet
        .wait_for("both are Unhealthy", PATIENCE, |state| state.allocatable(QAT) == 0 && state.capacity(QAT) == 2)
        .await
        .unwrap();
    agent.wait_for_log("/dev/vfio/vfio is missing").unwrap();
    std::fs::rename(node.path("dev/vfio-hidden"), node.path("dev/vfio/vfio")).unwrap();
    kubelet.wait_for("both are Healthy", PATIENCE, |state| state.allocatable(QAT) == 2).await.unwrap();
}

#[tokio::test]
async fn a_group_that_is_not_viable_names_the_member_and_its_driver() {
    if !private_network() {
        return;
    }
    let node = Node::builder()
        .pci(PciSpec::bridge("0000:3a:00.0").group(10))
        .pci(PciSpec::new("0000:3b:00.0", QAT_ID).behind("0000:3a:00.0").driver("vfio-pci").group(10))
        .pci(PciSpec::new("0000:3b:00.1", "8086:1533").behind("0000:3a:00.0").driver("pci-stub").group(10))
        .pci(qat("0000:5e:00.0", 20))
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    // A bridge on pcieport and a stub are in nobody's way.
    let (kubelet, agent) = started(&node, &folder, "1h", 2).await;
    for (driver, viable) in [("igb", false), ("vfio-pci", true), ("snd_hda_intel", false), ("pci-stub", true)] {
        node.unbind("0000:3b:00.1").unwrap();
        becomes(&kubelet, QAT, BDF, Some(Health::Healthy)).await;
        node.bind("0000:3b:00.1", driver).unwrap();
        if !viable {
            becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
            agent.wait_for_log(&format!("not viable: 0000:3b:00.1 is bound to {driver}")).unwrap();
        }
        becomes(&kubelet, QAT, BDF, Some(if viable { Health::Healthy } else { Health::Unhealthy })).await;
        assert_eq!(kubelet.look(|state| state.health(QAT, "0000:5e:00.0")), Some(Health::Healthy));
    }

    // Not viable and free: refused, with the reason.
    node.unbind("0000:3b:00.1").unwrap();
    node.bind("0000:3b:00.1", "igb").unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
    let plugin = sockets(&kubelet).into_iter().find(|name| name.contains("qat")).unwrap();
    let plugin = Plugin::dial(kubelet.plugin_dir().join(plugin), PATIENCE).await.unwrap();
    let refused = plugin.allocate([vec![BDF.to_owned()]]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("0000:3b:00.1") && refused.message().contains("igb"), "{refused:?}");
}

#[tokio::test]
async fn an_owned_device_stays_healthy_when_its_group_becomes_not_viable() {
    if !private_network() {
        return;
    }
    let node = Node::builder()
        .pci(PciSpec::new(BDF, QAT_ID).driver("vfio-pci").group(10))
        .pci(PciSpec::new("0000:3b:00.1", "8086:1533").group(10))
        .build()
        .unwrap();
    let folder = TempDir::new().unwrap();
    let (kubelet, agent) = started(&node, &folder, "1h", 1).await;
    let pod = kubelet.admit(vm("a", QAT)).await.unwrap();
    kubelet.start_container(pod.uid(), "compute").await.unwrap();
    let messages = kubelet.watch(QAT).len();
    node.bind("0000:3b:00.1", "igb").unwrap();
    agent.wait_for_log("not viable: 0000:3b:00.1 is bound to igb").unwrap();
    assert_eq!(kubelet.allocatable(QAT), 1, "it works on, and is not counted twice");
    assert_eq!(kubelet.watch(QAT).len(), messages);
    // A container that is yet to start would fail on it.
    let error = kubelet.start_container(pod.uid(), "compute").await.unwrap_err().to_string();
    assert!(error.contains("0000:3b:00.1") && error.contains("igb"), "{error}");
    node.unbind("0000:3b:00.1").unwrap();
    starts_in_the_end(&kubelet, pod.uid()).await;
    assert!(agent.log().contains(" INFO Healthy: "), "the end of it is told: {}", agent.log());
}

#[tokio::test]
async fn an_owned_device_that_is_removed_or_unbound_is_kept_unhealthy_until_it_is_back_or_the_pod_ends() {
    let (node, folder) = (Node::builder().pci(qat(BDF, 11)).build().unwrap(), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, "200ms", 1).await;
    let pod = kubelet.admit(vm("a", QAT)).await.unwrap();
    node.unbind(BDF).unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
    node.bind(BDF, "vfio-pci").unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Healthy)).await;
    node.unplug(BDF).unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
    let looks = kubelet.look(|state| state.pod_resources_calls().len());
    kubelet.wait_for("some more looks", PATIENCE, |state| state.pod_resources_calls().len() > looks + 3).await.unwrap();
    assert_eq!(kubelet.look(|state| state.pod_status(pod.uid()))[BDF], Health::Unhealthy);
    node.plug(qat(BDF, 11)).unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Healthy)).await;
    node.unplug(BDF).unwrap();
    becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
    kubelet.finish_pod(pod.uid());
    becomes(&kubelet, QAT, BDF, None).await;
    assert!(kubelet.look(|state| state.has_resource(QAT)), "a resource without devices is a resource");
}

#[tokio::test]
async fn what_waiting_cannot_cure_is_refused_with_its_reason_and_nothing_is_half_allocated() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, "200ms", 2).await;
    let name = sockets(&kubelet).into_iter().find(|name| name.contains("qat")).unwrap();
    let plugin = Plugin::dial(kubelet.plugin_dir().join(name), PATIENCE).await.unwrap();
    let allocate = async |ids: &[&str]| plugin.allocate([ids.iter().map(|id| (*id).to_owned()).collect()]).await;
    let (good, other) = ("0000:3c:00.0", BDF);
    for unknown in ["0000:99:00.0", "0000:3B:00.0", "nonsense", "", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"] {
        let refused = allocate(&[good, unknown]).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");
        assert!(refused.message().contains(QAT) && refused.message().contains(unknown), "{refused:?}");
        assert_eq!(plugin.pre_start(vec![unknown.to_owned()]).await.unwrap_err().code(), tonic::Code::NotFound);
    }
    node.unbind(other).unwrap();
    becomes(&kubelet, QAT, other, Some(Health::Unhealthy)).await;
    // The node goes before the driver does, and is the reason for a moment.
    let begun = Instant::now();
    loop {
        let refused = allocate(&[good, other]).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains(other), "{refused:?}");
        if refused.message().contains("no driver is bound") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.bind(other, "vfio-pci").unwrap();
    becomes(&kubelet, QAT, other, Some(Health::Healthy)).await;
    node.node_gone(11).unwrap();
    becomes(&kubelet, QAT, other, Some(Health::Unhealthy)).await;
    let refused = allocate(&[good, other]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("/dev/vfio/11"), "{refused:?}");
    // Nothing of it was noted: a reload that drops the resource finds it free, and ends it at once.
    _agent.configure(&pci_config(&[(GPU_ID, GPU)])).unwrap();
    kubelet
        .wait_for("the resource ended", PATIENCE, |state| state.capacity(QAT) == 0 && !state.is_connected(QAT))
        .await
        .unwrap();
}

/// The moments at which one device's health changed, from the kubelet's messages.
fn turns(listings: &[Listing], id: &str) -> Vec<(Instant, Health)> {
    let of =
        |changes: &BTreeMap<String, Option<Device>>| changes.get(id).cloned().flatten().map(|device| device.health);
    listings.iter().filter_map(|list| Some((list.received, of(&list.changes)?))).collect()
}

#[tokio::test]
async fn a_flapping_device_must_be_stable_for_a_second_from_the_fifth_time_on() {
    let (node, folder) = (Node::builder().pci(qat(BDF, 11)).build().unwrap(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, "1h", 1).await;
    for fall in 1..=6 {
        node.node_gone(11).unwrap();
        becomes(&kubelet, QAT, BDF, Some(Health::Unhealthy)).await;
        node.node_back(11).unwrap();
        becomes(&kubelet, QAT, BDF, Some(Health::Healthy)).await;
        assert!(fall >= 5 || !agent.log().contains("flapping"), "after {fall} falls");
    }
    let turns = turns(&kubelet.watch(QAT), BDF);
    let recoveries: Vec<Duration> =
        turns.windows(2).filter(|pair| pair[1].1 == Health::Healthy).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(recoveries.len(), 6, "{turns:?}");
    let second = Duration::from_secs(1);
    assert!(recoveries[4..].iter().all(|took| *took >= second), "after a second: {recoveries:?}");
    agent.wait_for_log("flapping").unwrap();
}

#[tokio::test]
async fn an_isolated_change_is_told_and_a_storm_is_folded() {
    let builder = Node::builder().pci_fleet(&PciFleet::new(QAT_ID, 400).driver("vfio-pci"));
    let (node, folder) = (builder.build().unwrap(), TempDir::new().unwrap());
    let (kubelet, _agent) = started(&node, &folder, "1h", 400).await;
    let groups: Vec<u32> = node.devices().iter().map(|id| node.group_of(id).unwrap()).collect();
    node.node_gone(groups[0]).unwrap();
    kubelet.wait_for("one change", PATIENCE, |state| state.allocatable(QAT) == 399).await.unwrap();
    node.node_back(groups[0]).unwrap();
    kubelet.wait_for("all back", PATIENCE, |state| state.allocatable(QAT) == 400).await.unwrap();

    let (begun, before) = (Instant::now(), kubelet.watch(QAT).len());
    for round in 0..4 {
        for &group in &groups {
            if round % 2 == 0 {
                node.node_gone(group).unwrap()
            } else {
                node.node_back(group).unwrap()
            }
            if group % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    kubelet.wait_for("all are Healthy in the end", PATIENCE, |state| state.allocatable(QAT) == 400).await.unwrap();
    let messages = kubelet.watch(QAT).len() - before;
    let most = 100 + 20 * (begun.elapsed().as_secs_f64().ceil() as usize) + 1;
    assert!(messages <= most, "{messages} messages in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_host_that_does_not_change_costs_no_message() {
    let (node, folder) = (two_qats(), TempDir::new().unwrap());
    let (kubelet, agent) = started(&node, &folder, "100ms", 2).await;
    kubelet
        .wait_for("all are registered", PATIENCE, |state| {
            [GPU, AUDIO].iter().all(|name| state.listings(name).len() == 1)
        })
        .await
        .unwrap();
    let calls = kubelet.look(|state| state.pod_resources_calls().len());
    // Each rescan looks at the sources of ownership, too.
    kubelet.wait_for("ten rescans", PATIENCE, |state| state.pod_resources_calls().len() > calls + 10).await.unwrap();
    assert_eq!([QAT, GPU, AUDIO].map(|name| kubelet.watch(name).len()), [1, 1, 1]);
    let lines = agent.log().lines().filter(|line| !line.contains("DEBUG")).count();
    assert!(lines < 20, "and no lines in the log: {}", agent.log());
}
