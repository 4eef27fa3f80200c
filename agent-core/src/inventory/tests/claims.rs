//! Devices that somebody has.

use super::*;

fn owned_by_a() -> Node {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    node.wait(secs(20));
    node
}

#[test]
fn an_owned_device_that_is_removed_stays_listed_until_its_pod_ends() {
    let mut node = owned_by_a();
    node.change(&[gpu(1)], |host| host.unplug(gpu(1)));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy Removed");
    let numa = node.resource(GPU).table().get(gpu(1)).unwrap().numa();
    assert_eq!(numa, Some(0), "what it was does not change");
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(1)), "unlisted");
}

#[test]
fn an_owned_device_that_is_removed_and_comes_back_is_its_pods_again() {
    let mut node = owned_by_a();
    node.change(&[gpu(1)], |host| host.unplug(gpu(1)));
    node.change(&[gpu(1)], |host| host.plug(gpu(1)));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
}

#[test]
fn an_owned_device_whose_driver_is_unbound_is_unhealthy_for_as_long_as_it_takes() {
    let mut node = owned_by_a();
    node.change(&[gpu(1)], |host| host.bind(gpu(1), Binding::Unbound));
    node.wait(secs(120));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy DriverUnbound");
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(1)), "unlisted", "the minute has passed before");
}

#[test]
fn an_owned_device_whose_group_is_no_longer_viable_stays_healthy_and_says_why_not() {
    let mut node = owned_by_a();
    let bridge = Member { name: "0000:00:01.0".into(), driver: Some("shpchp".into()), vfio: false, bridge: true };
    let outcome = node.change(&[gpu(1)], |host| drop(host.others.insert(1, bridge)));
    assert_eq!(outcome.transitions.len(), 1, "it is an event");
    assert_eq!(node.says(GPU, gpu(1)), "Healthy GroupNotViable");
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy GroupNotViable");
}

#[test]
fn devices_in_use_are_healthy_in_the_first_list_after_a_restart() {
    let mut node = Node::idle();
    node.world.plug(gpu(1));
    node.world.plug(audio(1));
    node.world.tell_all(&mut node.inventory);
    node.kubelet_says_after(secs(5), &[("a", GPU, gpu(1)), ("b", GPU, gpu(9))]);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse", "nobody is about to ask for it");
    assert_eq!(node.says(GPU, gpu(9)), "Unhealthy Removed", "it vanished while no agent was there");
    assert_eq!(node.rings(GPU), 1);
}

#[test]
fn a_device_that_is_free_again_is_ready_again() {
    let mut node = owned_by_a();
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn what_is_claimed_is_granted_again() {
    let mut node = owned_by_a();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Claimed");
}

#[test]
fn claims_on_devices_of_other_plugins_stand_against_the_group_and_are_not_listed() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(audio(1));
    });
    node.kubelet_says(&[("a", "other.com/sound", audio(1))]);
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy GroupInUse");
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse", "it is the same device");
}

#[test]
fn the_health_of_a_device_in_use_is_not_reported_anew_for_nothing() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    let rings = node.rings(GPU);
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    node.wait(secs(20));
    node.kubelet_says(&[]);
    assert_eq!(node.rings(GPU), rings, "it was healthy all the time");
}

#[test]
fn a_grant_of_a_lone_device_is_told_once_and_rings_for_nobody() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    let rings = node.rings(GPU);
    let grant = |node: &mut Node| {
        let resource = Arc::clone(&node.resources[GPU]);
        node.register.grant(&resource, &[[gpu(1).to_string()]], node.now).unwrap();
        node.settle()
    };
    let first = grant(&mut node);
    assert_eq!(first.judged, [gpu(1)]);
    let reasons = |verdict: &Option<Verdict>| verdict.as_ref().map(|verdict| verdict.reason.code());
    let told: Vec<_> = first.transitions.iter().map(|told| (reasons(&told.before), reasons(&told.now))).collect();
    assert_eq!(told, [(Some("Ready"), Some("Claimed"))]);
    let again = grant(&mut node);
    assert!(again.judged.is_empty() && again.transitions.is_empty(), "it was claimed, and no pod is known");
    assert_eq!(node.rings(GPU), rings);
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    assert_eq!(grant(&mut node).judged, [gpu(1)], "whoever has it now is not the pod that had it");
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Claimed");
}

#[test]
fn a_grant_that_comes_with_other_news_is_judged_with_it() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    let resource = Arc::clone(&node.resources[GPU]);
    node.register.grant(&resource, &[[gpu(1).to_string()]], node.now).unwrap();
    let outcome = node.node(&DevNode::Group(1), false);
    assert_eq!(outcome.judged, [gpu(1)]);
    assert_eq!(outcome.transitions.len(), 1);
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NodeMissing");
    node.node(&DevNode::Group(1), true);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Claimed");
}
