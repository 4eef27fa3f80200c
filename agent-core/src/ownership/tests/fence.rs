//! The fence: a group has one owner.

use super::*;
use std::slice;

/// Two cards, each with a GPU and its audio function in one group.
struct Node {
    ledger: Ledger,
    grants: u64,
}

const CARDS: [[u8; 2]; 2] = [[0, 1], [2, 3]];

impl Node {
    fn new() -> Self {
        Self { ledger: Ledger::default(), grants: 0 }
    }

    fn grant(&mut self, resource: &str, devices: &[u8]) {
        self.grants += 1;
        for &device in devices {
            grant(&mut self.ledger, resource, function(device), secs(1), self.grants);
        }
    }

    /// The kubelet says who has what: `pod resource function`.
    fn said(mut self, all: &[(&str, &str, u8)]) -> Self {
        self.look(2, all);
        self
    }

    fn look(&mut self, begun: u64, all: &[(&str, &str, u8)]) {
        let said = |look: Look, &(pod, resource, device): &(&str, &str, u8)| {
            look.recorded(pod, "compute", resource, function(device))
        };
        all.iter().fold(look(begun).without_pod_resources(), said).at(&mut self.ledger);
    }

    fn fence(&self, resource: &str, devices: &[u8]) -> Fence {
        let devices: Vec<DeviceId> = devices.iter().map(|&device| function(device)).collect();
        let groups: Vec<Vec<DeviceId>> = CARDS.iter().map(|card| card.iter().map(|&f| function(f)).collect()).collect();
        fence(&self.ledger, resource, &devices, |device| {
            groups.iter().find(|group| group.contains(&device)).into_iter().flatten().copied()
        })
    }

    /// "open", "unknown", or the pod that stands in the way.
    fn verdict(&self, resource: &str, devices: &[u8]) -> String {
        match self.fence(resource, devices) {
            Fence::Open => "open".into(),
            Fence::Unknown(_) => "unknown".into(),
            Fence::Shut(conflict) => conflict.owner.unwrap().pod.uid.unwrap().to_string(),
        }
    }
}

#[test]
fn a_pod_that_has_the_whole_group_starts_in_whichever_order_it_was_admitted() {
    for order in [[(GPU, 0), (AUDIO, 1)], [(AUDIO, 1), (GPU, 0)]] {
        let mut node = Node::new();
        order.iter().for_each(|(resource, device)| node.grant(resource, slice::from_ref(device)));
        let node = node.said(&[("pod-a", GPU, 0), ("pod-a", AUDIO, 1)]);
        assert_eq!(node.verdict(GPU, &[0]), "open");
        assert_eq!(node.verdict(AUDIO, &[1]), "open");
    }
}

#[test]
fn of_two_pods_with_one_function_each_the_younger_waits_and_learns_for_whom() {
    for [(first, one), (second, other)] in [[(GPU, 0), (AUDIO, 1)], [(AUDIO, 1), (GPU, 0)]] {
        let mut node = Node::new();
        node.grant(first, &[one]);
        node.grant(second, &[other]);
        let node = node.said(&[("pod-a", first, one), ("pod-b", second, other)]);
        assert_eq!(node.verdict(first, &[one]), "open");
        let Fence::Shut(conflict) = node.fence(second, &[other]) else { panic!("both start") };
        assert_eq!((conflict.device, conflict.other), (function(other), function(one)));
        assert_eq!((conflict.resource.as_str(), conflict.owner.unwrap().pod.uid.as_deref()), (first, Some("pod-a")));
    }
}

#[test]
fn the_younger_starts_when_the_elder_is_gone() {
    let mut node = Node::new();
    node.grant(GPU, &[0]);
    node.grant(AUDIO, &[1]);
    let mut node = node.said(&[("pod-a", GPU, 0), ("pod-b", AUDIO, 1)]);
    assert_eq!(node.verdict(AUDIO, &[1]), "pod-a");
    node.look(30, &[("pod-b", AUDIO, 1)]);
    assert_eq!(node.verdict(AUDIO, &[1]), "open");
}

#[test]
fn two_functions_of_one_resource_in_one_group_belong_to_one_pod() {
    let mut node = Node::new();
    node.grant(GPU, &[0]);
    node.grant(GPU, &[1]);
    let node = node.said(&[("pod-a", GPU, 0), ("pod-b", GPU, 1)]);
    assert_eq!((node.verdict(GPU, &[0]).as_str(), node.verdict(GPU, &[1]).as_str()), ("open", "pod-a"));
}

#[test]
fn devices_given_to_one_container_never_stand_in_each_others_way() {
    let mut node = Node::new();
    node.grant(GPU, &[0, 1, 2]);
    assert_eq!(node.verdict(GPU, &[0, 1, 2]), "open", "though no source has named the pod yet");
}

#[test]
fn while_no_source_names_the_pods_the_elder_starts_and_the_younger_is_told_that_it_is_not_known() {
    let mut node = Node::new();
    node.grant(GPU, &[0]);
    node.grant(AUDIO, &[1]);
    assert_eq!((node.verdict(GPU, &[0]).as_str(), node.verdict(AUDIO, &[1]).as_str()), ("open", "unknown"));
    let node = node.said(&[("pod-a", GPU, 0)]);
    assert_eq!(node.verdict(AUDIO, &[1]), "unknown", "its own pod is not named yet");
}

#[test]
fn a_claim_that_was_lost_waits_for_everybody_in_its_group() {
    let mut node = Node::new();
    node.grant(GPU, &[0]);
    let node = node.said(&[("pod-a", GPU, 0)]);
    assert_eq!((node.verdict(AUDIO, &[1]).as_str(), node.verdict(AUDIO, &[3]).as_str()), ("unknown", "open"));
}

#[test]
fn every_group_of_a_container_counts() {
    let mut node = Node::new();
    node.grant(GPU, &[2]);
    node.grant(AUDIO, &[1, 3]);
    let node = node.said(&[("pod-a", GPU, 2), ("pod-b", AUDIO, 1), ("pod-b", AUDIO, 3)]);
    assert_eq!((node.verdict(GPU, &[2]).as_str(), node.verdict(AUDIO, &[1, 3]).as_str()), ("open", "pod-a"));
}

#[test]
fn a_device_that_another_pod_has_under_another_resource_is_in_the_way_of_itself() {
    let mut node = Node::new();
    node.grant(GPU, &[0]);
    node.grant(AUDIO, &[0]);
    let node = node.said(&[("pod-a", GPU, 0), ("pod-b", AUDIO, 0)]);
    assert_eq!((node.verdict(GPU, &[0]).as_str(), node.verdict(AUDIO, &[0]).as_str()), ("open", "pod-a"));
}

#[test]
fn a_restarted_agent_learns_the_order_from_the_answers_that_the_kubelet_keeps() {
    for [first, second] in [["pod-a", "pod-b"], ["pod-b", "pod-a"]] {
        let restarted = |node: &mut Node, begun, orders: [u64; 2]| {
            let look = look(begun).without_pod_resources();
            let look = look.recorded(first, "compute", AUDIO, function(1)).ordered(orders[0]);
            look.recorded(second, "compute", GPU, function(0)).ordered(orders[1]).at(&mut node.ledger);
            [node.verdict(AUDIO, &[1]), node.verdict(GPU, &[0])]
        };
        let mut node = Node::new();
        assert_eq!(restarted(&mut node, 0, [41, 42]), ["open", first]);
        assert_eq!(node.ledger.youngest(), 42);
        // Another agent that runs still answers again.
        assert_eq!(restarted(&mut node, 1, [43, 42]), [second, "open"]);
    }
}

/// A plugin that is not vfiod notes no order.
#[test]
fn of_two_pods_from_before_the_agent_exactly_one_starts_however_their_functions_lie() {
    for (a, b) in [([0, 3], [1, 2]), ([0, 2], [1, 3]), ([1, 3], [0, 2])] {
        let resource = |device: u8| if device.is_multiple_of(2) { GPU } else { AUDIO };
        let of = |pod, devices: [u8; 2]| devices.map(|device| (pod, resource(device), device));
        let node = Node::new().said(&[of("pod-a", a), of("pod-b", b)].concat());
        let starts =
            |devices: [u8; 2]| devices.iter().all(|&device| node.verdict(resource(device), &[device]) == "open");
        assert_eq!([starts(a), starts(b)], [true, false], "{a:?} {b:?}");
    }
}

#[test]
fn a_pod_from_before_the_agent_goes_before_one_that_came_after() {
    let mut node = Node::new().said(&[("pod-z", AUDIO, 1)]);
    node.grant(GPU, &[0]);
    node.look(3, &[("pod-z", AUDIO, 1), ("pod-a", GPU, 0)]);
    assert_eq!((node.verdict(GPU, &[0]).as_str(), node.verdict(AUDIO, &[1]).as_str()), ("pod-z", "open"));
}
