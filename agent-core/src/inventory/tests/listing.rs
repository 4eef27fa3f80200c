//! What is listed, and for how long.

use super::*;

#[test]
fn what_is_permitted_and_bound_is_listed() {
    let node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(audio(1));
        host.plug(gpu(2));
        host.bind(gpu(2), host_driver());
        host.create_mdev(1);
    });
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    assert_eq!(node.says(VGPU, mdev(1)), "Healthy Ready");
    assert_eq!(node.says(GPU, gpu(2)), "unlisted", "it never was bound to a VFIO driver");
    assert_eq!(node.says(AUDIO, gpu(1)), "unlisted");
}

fn host_driver() -> Binding {
    host("nvidia")
}

#[test]
fn an_unbound_device_is_listed_for_a_minute() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.change(&[gpu(1)], |host| host.bind(gpu(1), Binding::Unbound));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy DriverUnbound");
    node.wait(ms(59_999));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy DriverUnbound");
    node.wait(ms(1));
    assert_eq!(node.says(GPU, gpu(1)), "unlisted");
    node.change(&[gpu(1)], |host| host.bind(gpu(1), vfio()));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn the_minute_counts_from_the_loss_of_the_driver_whatever_binds_in_between() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.change(&[gpu(1)], |host| host.bind(gpu(1), Binding::Unbound));
    node.wait(secs(30));
    node.change(&[gpu(1)], |host| host.bind(gpu(1), host_driver()));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy HostDriver");
    node.wait(secs(30));
    assert_eq!(node.says(GPU, gpu(1)), "unlisted");
}

#[test]
fn a_device_that_is_bound_again_is_healthy_at_once_and_has_a_minute_again() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    for _ in 0..2 {
        node.change(&[gpu(1)], |host| host.bind(gpu(1), Binding::Unbound));
        node.wait(secs(50));
        assert_eq!(node.says(GPU, gpu(1)), "Unhealthy DriverUnbound");
        node.change(&[gpu(1)], |host| host.bind(gpu(1), vfio()));
        assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
    }
}

#[test]
fn a_removed_device_is_dropped_and_comes_back_healthy() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.change(&[gpu(1)], |host| host.unplug(gpu(1)));
    assert_eq!(node.says(GPU, gpu(1)), "unlisted");
    node.change(&[gpu(1)], |host| host.plug(gpu(1)));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn a_missing_node_is_unhealthy_until_it_is_back() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    for device_node in [DevNode::Group(1), DevNode::Container] {
        node.node(&device_node, false);
        assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NodeMissing", "{device_node:?}");
        node.node(&device_node, true);
        assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready", "{device_node:?}");
    }
}

#[test]
fn the_node_of_another_group_means_nothing() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    let outcome = node.node(&DevNode::Group(2), true);
    assert!(outcome.transitions.is_empty() && outcome.changed.is_empty());
}

#[test]
fn a_character_device_that_comes_later_is_handed_out_too() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.devices.get_mut(&gpu(1)).unwrap().cdevs = ["vfio0".into()].into();
    });
    let nodes = |node: &Node| -> Vec<String> { node.resource(GPU).table().get(gpu(1)).unwrap().nodes().collect() };
    assert_eq!(nodes(&node), ["/dev/vfio/1"], "kernels without IOMMUFD list the name and offer no node");
    node.node(&DevNode::Cdev("vfio0".into()), true);
    assert_eq!(nodes(&node), ["/dev/vfio/1", "/dev/vfio/devices/vfio0"]);
    node.node(&DevNode::Cdev("vfio0".into()), false);
    assert_eq!(nodes(&node), ["/dev/vfio/1"]);
}

#[test]
fn what_a_scan_could_not_read_keeps_its_last_state() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.plug(gpu(2));
        host.create_mdev(1);
    });
    let scan = |node: &mut Node, complete: &Completeness| {
        node.inventory.scanned(Vec::new(), Vec::new(), None, complete);
        node.settle();
        [node.says(GPU, gpu(1)), node.says(GPU, gpu(2)), node.says(VGPU, mdev(1))]
    };
    let incomplete = Completeness { pci: false, mdev: false, ..Completeness::default() };
    assert_eq!(scan(&mut node, &incomplete), ["Healthy Ready"; 3]);
    let unreadable = Completeness { pci: true, mdev: false, unreadable: BTreeSet::from([gpu(1)]) };
    assert_eq!(scan(&mut node, &unreadable), ["Healthy Ready", "unlisted", "Healthy Ready"]);
    assert_eq!(scan(&mut node, &COMPLETE), ["unlisted"; 3]);
}

#[test]
fn an_unchanged_host_costs_nothing() {
    let mut node = Node::with(|host| {
        (1..20).for_each(|bus| host.plug(gpu(bus)));
        (1..20).for_each(|bus| host.plug(audio(bus)));
        host.create_mdev(1);
    });
    let rings = node.rings(GPU);
    let outcome = node.rescan();
    assert!(outcome.transitions.is_empty() && outcome.changed.is_empty() && outcome.opened.is_empty());
    node.inventory.set_permit(permit(PERMIT));
    let outcome = node.settle();
    assert!(outcome.transitions.is_empty() && outcome.changed.is_empty() && outcome.opened.is_empty());
    assert_eq!(node.rings(GPU), rings);
}

#[test]
fn a_device_keeps_its_node_and_its_group_while_its_driver_changes() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    let before = Arc::clone(node.resource(GPU).table().get(gpu(1)).unwrap());
    node.change(&[gpu(1)], |host| host.bind(gpu(1), Binding::Unbound));
    let after = Arc::clone(node.resource(GPU).table().get(gpu(1)).unwrap());
    assert!(Arc::ptr_eq(&before, &after), "only its health changed, so the table is the same");
}

#[test]
fn a_device_that_moves_to_another_numa_node_or_group_is_listed_anew() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    node.change(&[gpu(1)], |host| {
        let device = host.devices.get_mut(&gpu(1)).unwrap();
        (device.numa, device.group) = (None, Some(77));
        host.nodes.groups.insert(77);
    });
    let table = node.resource(GPU).table();
    let slot = table.get(gpu(1)).unwrap();
    assert_eq!((slot.numa(), slot.group(), slot.nodes().next().unwrap()), (None, Some(77), "/dev/vfio/77".to_owned()));
    assert_eq!(node.inventory.host().members_of(1).count(), 0);
}
