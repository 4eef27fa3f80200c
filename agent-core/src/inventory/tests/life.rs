//! Resources that come and go, devices that change hands, devices that flap.

use super::*;

const WITHOUT_GPU: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/audio}
  mediatedDevices:
  - {mdevNameSelector: GRID T4-1Q, resourceName: nvidia.com/vgpu}
";
const RENAMED: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/t4}
  - {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/audio}
";
const T4: &str = "nvidia.com/t4";

fn reload(node: &mut Node, text: &str) -> Outcome {
    node.inventory.set_permit(permit(text));
    node.settle()
}

fn names(resources: &[Arc<Resource>]) -> Vec<&str> {
    resources.iter().map(|resource| resource.name().as_str()).collect()
}

#[test]
fn a_resource_is_opened_once_and_also_without_devices() {
    let mut node = Node::idle();
    let outcome = node.settle();
    assert_eq!(names(&outcome.opened), [GPU, AUDIO, VGPU]);
    assert!(node.settle().opened.is_empty());
    assert!(node.resource(GPU).table().slots().is_empty());
}

#[test]
fn a_resource_that_is_no_longer_permitted_ends_and_the_others_are_not_touched() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(gpu(2));
        host.plug(audio(3));
    });
    let rings = node.rings(AUDIO);
    let outcome = reload(&mut node, WITHOUT_GPU);
    assert_eq!(names(&outcome.closed), [GPU]);
    assert!(node.resource(GPU).is_retired() && node.resource(GPU).table().slots().is_empty());
    assert_eq!(node.rings(AUDIO), rings);
    let outcome = reload(&mut node, PERMIT);
    assert_eq!(names(&outcome.opened), [GPU]);
    assert_eq!((node.resource(GPU).is_retired(), node.says(GPU, gpu(1)).as_str()), (false, "Healthy Ready"));
}

#[test]
fn a_resource_that_is_no_longer_permitted_lists_its_owned_devices_until_they_are_free() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(gpu(2));
    });
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    let outcome = reload(&mut node, WITHOUT_GPU);
    assert!(outcome.closed.is_empty());
    assert_eq!([node.says(GPU, gpu(1)), node.says(GPU, gpu(2))], ["Healthy Owned", "unlisted"]);
    node.wait(secs(20));
    node.kubelet_says(&[]);
    assert!(node.resource(GPU).is_retired());
    assert_eq!(node.says(GPU, gpu(1)), "unlisted");
}

#[test]
fn a_resource_that_is_permitted_again_before_it_ended_never_ended() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.allocate(GPU, &[gpu(1)]).unwrap();
    reload(&mut node, WITHOUT_GPU);
    let outcome = reload(&mut node, PERMIT);
    assert!(outcome.opened.is_empty());
    node.wait(secs(10));
    node.kubelet_says(&[]);
    assert!(!node.resource(GPU).is_retired());
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn a_device_that_moves_to_another_resource_is_kept_back_there_until_its_pod_ends() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(gpu(2));
    });
    node.allocate(GPU, &[gpu(1)]).unwrap();
    reload(&mut node, RENAMED);
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Claimed");
    assert_eq!(node.says(T4, gpu(1)), "Unhealthy GroupInUse", "at once: it is the same device");
    assert_eq!([node.says(GPU, gpu(2)), node.says(T4, gpu(2))], ["unlisted", "Healthy Ready"]);
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    node.wait(secs(20));
    let refusal = node.allocate(T4, &[gpu(1)]).unwrap_err().to_string();
    assert!(refusal.contains("pod vms/a"), "{refusal}");
    node.kubelet_says(&[]);
    assert!(node.resource(GPU).is_retired());
    assert_eq!(node.says(T4, gpu(1)), "Healthy Ready");
}

#[test]
fn variables_follow_the_configuration() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    assert_eq!(node.resource(GPU).variables().pci, ["PCI_RESOURCE_NVIDIA_COM_GPU", "PCI_RESOURCE_NVIDIA_COM_gpu"]);
    let outcome = reload(&mut node, &format!("envNames: kubevirt{PERMIT}"));
    assert_eq!(node.resource(GPU).variables().pci, ["PCI_RESOURCE_NVIDIA_COM_GPU"]);
    assert!(outcome.changed.is_empty(), "the list is the same");
}

#[test]
fn a_device_that_falls_for_the_fifth_time_within_ten_seconds_waits_until_it_is_stable_for_a_second() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    for fall in 1..=5 {
        node.node(&DevNode::Group(1), false);
        assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NodeMissing", "a fall is reported at once");
        node.wait(ms(100));
        node.node(&DevNode::Group(1), true);
        let expected = if fall < 5 { "Healthy Ready" } else { "Unhealthy Settling" };
        assert_eq!(node.says(GPU, gpu(1)), expected, "fall {fall}");
        node.wait(ms(100));
    }
    node.wait(ms(899));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy Settling");
    node.wait(ms(1));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn unplugging_is_a_fall_too() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    for _ in 0..5 {
        node.change(&[gpu(1)], |host| host.unplug(gpu(1)));
        assert_eq!(node.says(GPU, gpu(1)), "unlisted");
        node.change(&[gpu(1)], |host| host.plug(gpu(1)));
    }
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy Settling");
    node.wait(secs(1));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn a_group_that_is_taken_and_left_is_no_fall_of_its_members() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(audio(1));
    });
    for _ in 0..8 {
        node.kubelet_says(&[("a", GPU, gpu(1))]);
        assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse");
        node.kubelet_says(&[]);
        assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    }
}

#[test]
fn five_falls_over_a_longer_time_are_none_of_flapping() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    for _ in 0..20 {
        node.node(&DevNode::Group(1), false);
        node.node(&DevNode::Group(1), true);
        assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
        node.wait(ms(2501));
    }
}

#[test]
fn an_owned_device_that_flapped_is_its_pods_again_at_once() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    for _ in 0..6 {
        node.node(&DevNode::Group(1), false);
        assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NodeMissing");
        node.node(&DevNode::Group(1), true);
        assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    }
}
