//! What it means for a device, its group and its pods that somebody has it open.

use super::*;
use crate::{
    health::STUCK_AFTER,
    holding::{Held, Object, Opening, Place, Process},
};

fn process(pid: u32, pod: Option<&str>) -> Arc<Process> {
    let place = Place { pod: pod.map(|pod| format!("uid-{pod}").into()), container: None };
    Arc::new(Process { pid, started: None, command: "qemu-kvm".into(), place: Some(place) })
}

impl Node {
    /// Somebody has an object open; nobody, without processes.
    fn open(&mut self, object: impl Into<Object>, by: &[Arc<Process>]) -> Outcome {
        let by: Vec<Opening> =
            by.iter().map(|process| Opening { process: Arc::clone(process), descriptors: 1 }).collect();
        let count = Some(u32::try_from(by.len()).unwrap());
        self.inventory.held(object.into(), Held { count, by });
        self.settle()
    }

    fn close(&mut self, object: impl Into<Object>) -> Outcome {
        self.open(object, &[])
    }
}

impl From<DeviceId> for Object {
    fn from(id: DeviceId) -> Self {
        Self::Device(id)
    }
}

/// A GPU with its audio function, and a lone GPU. The kubelet's sources have been read.
fn node() -> Node {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(audio(1));
        host.plug(gpu(2));
    });
    node.kubelet_says(&[]);
    node
}

#[test]
fn what_somebody_else_has_open_is_withheld_until_it_is_closed() {
    let mut node = node();
    let rings = node.rings(GPU);
    node.open(gpu(2), &[process(7, None)]);
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Held");
    assert_eq!(node.reason(GPU, gpu(2)).to_string(), "held by process 7 (qemu-kvm)");
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready", "another group");
    node.close(gpu(2));
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
    assert_eq!(node.rings(GPU), rings + 2);
}

#[test]
fn whoever_has_one_member_of_a_group_keeps_the_others_back() {
    let mut node = node();
    node.open(audio(1), &[process(7, None)]);
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy Held");
    let text = node.reason(GPU, gpu(1)).to_string();
    assert_eq!(text, "held by process 7 (qemu-kvm), who has 0000:01:00.1 open");
    node.close(audio(1));
    node.open(Object::Group(1), &[process(8, None)]);
    assert_eq!(node.reason(GPU, gpu(1)).to_string(), "held by process 8 (qemu-kvm), who has IOMMU group 1 open");
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
}

#[test]
fn an_owner_that_opens_its_device_changes_nothing() {
    let mut node = node();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    node.wait(secs(5));
    let rings = node.rings(GPU);
    node.open(Object::Group(1), &[process(7, Some("a"))]);
    node.open(gpu(1), &[process(7, Some("a"))]);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse");
    assert_eq!(node.rings(GPU), rings, "the kubelet is told nothing");
}

#[test]
fn a_pod_that_opens_its_gpu_within_the_second_may_still_ask_for_its_audio_function() {
    let mut node = node();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.open(gpu(1), &[process(7, Some("a"))]);
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready", "whose process it is, is not known yet");
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
}

#[test]
fn a_stranger_in_an_owned_device_is_named_and_leaves_it_healthy() {
    let mut node = node();
    node.allocate(GPU, &[gpu(2)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(2))]);
    for stranger in [process(7, None), process(8, Some("b"))] {
        node.open(gpu(2), &[process(6, Some("a")), stranger.clone()]);
        assert_eq!(node.says(GPU, gpu(2)), "Healthy Held");
        assert_eq!(node.reason(GPU, gpu(2)).to_string(), format!("held by {stranger}"));
    }
    node.open(gpu(2), &[process(6, Some("a"))]);
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Owned");
}

#[test]
fn what_a_pod_leaves_open_is_withheld_and_stuck_after_a_minute() {
    let mut node = node();
    node.allocate(GPU, &[gpu(2)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(2))]);
    node.open(gpu(2), &[process(7, Some("a"))]);
    node.wait(secs(60));
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Owned");
    node.kubelet_says(&[]);
    assert_eq!(node.reason(GPU, gpu(2)).to_string(), "held by process 7 (qemu-kvm) of pod uid-a");
    node.wait(STUCK_AFTER - ms(1));
    assert!(!node.reason(GPU, gpu(2)).to_string().starts_with("stuck"));
    node.wait(ms(1));
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Held");
    assert!(node.reason(GPU, gpu(2)).to_string().starts_with("stuck: its owner is gone"), "nothing else happened");
    node.close(gpu(2));
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
}

#[test]
fn a_process_of_the_host_is_never_stuck() {
    let mut node = node();
    node.open(gpu(2), &[process(7, None)]);
    node.wait(secs(600));
    assert_eq!(node.reason(GPU, gpu(2)).to_string(), "held by process 7 (qemu-kvm)");
}

#[test]
fn a_pod_is_not_accused_before_the_kubelet_has_been_heard() {
    let mut node = Node::with(|host| host.plug(gpu(2)));
    node.inventory.be_patient(node.now + secs(10));
    node.open(gpu(2), &[process(7, Some("a"))]);
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready", "vfiod was restarted, and the kubelet cannot be read");
    node.open(gpu(2), &[process(7, None)]);
    node.wait(secs(10) - ms(1));
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready", "nor one of no pod, soon after the start");
    node.wait(ms(1));
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Held", "this one is of no pod");
    node.open(gpu(2), &[process(7, Some("a"))]);
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Held", "the kubelet knows of no owner");
}

#[test]
fn an_open_file_that_nobody_shows_keeps_a_free_device_back() {
    let mut node = node();
    node.inventory.held(gpu(2).into(), Held { count: Some(1), by: Vec::new() });
    node.settle();
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Held");
    node.allocate(GPU, &[gpu(2)]).unwrap();
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Claimed", "it may be its owner's");
}

#[test]
fn what_is_open_is_granted_all_the_same() {
    let mut node = node();
    node.open(gpu(2), &[process(7, Some("b"))]);
    node.allocate(GPU, &[gpu(2)]).unwrap();
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Claimed");
}

#[test]
fn opening_and_closing_is_no_fault_of_the_device() {
    let mut node = node();
    for _ in 0..20 {
        node.open(gpu(2), &[process(7, None)]);
        node.close(gpu(2));
        assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready", "no settling");
    }
}

#[test]
fn a_container_waits_for_whoever_is_not_of_its_pod() {
    let mut node = node();
    let unreleased =
        |node: &Node| node.inventory.unreleased(GPU, &[gpu(1)]).map(|found| (found.holder.to_string(), found.proved));
    node.allocate(GPU, &[gpu(1)]).unwrap();
    assert_eq!(unreleased(&node), None);

    node.open(audio(1), &[process(7, Some("b"))]);
    let text = "held by process 7 (qemu-kvm) of pod uid-b, who has 0000:01:00.1 open".to_owned();
    assert_eq!(unreleased(&node), Some((text.clone(), false)), "it may be the pod that asks");
    node.open(Object::Group(1), &[process(8, None)]);
    let host = "held by process 8 (qemu-kvm), who has IOMMU group 1 open".to_owned();
    assert_eq!(unreleased(&node), Some((host, true)), "no pod's process is proved a stranger at once");
    node.close(Object::Group(1));
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(unreleased(&node), Some((text, true)));
    node.close(audio(1));
    node.open(gpu(1), &[process(9, Some("a"))]);
    assert_eq!(unreleased(&node), None, "another container of the same pod");
    node.inventory.held(Object::Group(1), Held { count: Some(1), by: Vec::new() });
    assert_eq!(unreleased(&node), None, "which has closed the group and kept the device");
    node.close(gpu(1));
    assert!(unreleased(&node).is_some_and(|(text, proved)| text.contains("nobody who shows it") && proved));
}

#[test]
fn a_device_is_open_when_anything_of_its_group_is() {
    let mut node = node();
    assert!(!node.inventory.are_open(&[gpu(1), gpu(2)]));
    for object in [Object::Device(gpu(1)), Object::Device(audio(1)), Object::Group(1)] {
        node.open(object, &[process(7, Some("a"))]);
        assert!(node.inventory.are_open(&[gpu(2), gpu(1)]) && !node.inventory.are_open(&[gpu(2)]), "{object}");
        node.close(object);
    }
    assert!(!node.inventory.are_open(&[gpu(1)]));
}

#[test]
fn a_cordoned_device_is_offered_to_nobody_and_kept_by_its_owner() {
    let mut node = node();
    assert!(node.inventory.cordon(gpu(2), true) && !node.inventory.cordon(gpu(2), true));
    node.settle();
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Cordoned");
    node.allocate(GPU, &[gpu(2)]).unwrap();
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Claimed");
    node.wait(secs(11));
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy Cordoned");
    assert!(node.inventory.cordon(gpu(2), false));
    node.settle();
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
}

#[test]
fn a_fatal_pci_error_sticks_until_the_device_is_bound_anew_or_cleared() {
    let mut node = node();
    node.inventory.broke(gpu(2));
    node.settle();
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy AerFatal");
    node.rescan();
    assert_eq!(node.says(GPU, gpu(2)), "Unhealthy AerFatal");
    node.change(&[gpu(2)], |host| host.bind(gpu(2), Binding::Unbound));
    node.change(&[gpu(2)], |host| host.bind(gpu(2), vfio()));
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
    node.inventory.broke(gpu(2));
    node.settle();
    assert!(node.inventory.cleared(gpu(2)) && !node.inventory.cleared(gpu(2)));
    node.settle();
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
}
