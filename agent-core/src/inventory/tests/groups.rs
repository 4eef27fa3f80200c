//! Members of one group, and what they do to each other.

use super::*;

fn two_cards() -> Node {
    Node::with(|host| {
        for bus in [1, 2] {
            host.plug(gpu(bus));
            host.plug(audio(bus));
        }
    })
}

/// A node whose only resource permits both functions of a card.
fn one_resource() -> Node {
    let mut node = Node::permitting(
        "permittedHostDevices: {pciHostDevices: [
           {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu},
           {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/gpu}]}",
    );
    node.world.plug(gpu(1));
    node.world.plug(audio(1));
    node.rescan();
    node
}

#[test]
fn a_member_on_a_host_driver_keeps_the_whole_group_back_and_is_named() {
    let mut node = two_cards();
    node.change(&[audio(1)], |host| host.bind(audio(1), super::host("snd_hda_intel")));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy GroupNotViable");
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy HostDriver");
    assert_eq!(node.says(GPU, gpu(2)), "Healthy Ready");
    let text = node.reason(GPU, gpu(1)).to_string();
    assert_eq!(text, "IOMMU group 1 is not viable: 0000:01:00.1 is bound to snd_hda_intel");
    let refusal = node.allocate(GPU, &[gpu(1)]).unwrap_err().to_string();
    assert!(refusal.contains(&text) && refusal.contains("unbind 0000:01:00.1 from snd_hda_intel"), "{refusal}");
    node.change(&[audio(1)], |host| host.bind(audio(1), Binding::Unbound));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready", "a member without a driver does not stand in the way");
}

#[test]
fn a_member_that_is_no_device_of_ours_counts_too() {
    let mut node = two_cards();
    let bridge = Member { name: "0000:00:01.0".into(), driver: Some("shpchp".into()), vfio: false, bridge: true };
    node.change(&[gpu(1)], |host| drop(host.others.insert(1, bridge)));
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy GroupNotViable");
    node.change(&[gpu(1)], |host| drop(host.others.remove(&1)));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn a_device_without_an_iommu_is_kept_back_unless_that_is_allowed() {
    let mut node = Node::with(|host| {
        host.plug(gpu(1));
        host.nodes.noiommu.insert(1);
        host.nodes.groups.remove(&1);
        host.noiommu.insert(1);
        host.create_mdev(1);
    });
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NoIommu");
    assert_eq!(node.says(VGPU, mdev(1)), "Healthy Ready", "of mediated devices the kernel always says so");
    assert!(node.allocate(GPU, &[gpu(1)]).unwrap_err().to_string().contains("allowNoIommu"));
    node.inventory.set_permit(permit(&format!("allowNoIommu: true{PERMIT}")));
    node.settle();
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.inventory.set_permit(permit(PERMIT));
    node.settle();
    assert_eq!(node.says(GPU, gpu(1)), "Healthy NoIommu", "its pod keeps it");
    node.allocate(GPU, &[gpu(1)]).unwrap_err();
    node.wait(secs(10));
    node.kubelet_says(&[]);
    assert_eq!(node.says(GPU, gpu(1)), "Unhealthy NoIommu");
}

#[test]
fn a_claim_keeps_the_other_members_of_its_own_resource_back_at_once() {
    let mut node = one_resource();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Claimed");
    assert_eq!(node.says(GPU, audio(1)), "Unhealthy GroupInUse");
    assert!(node.inventory.awaits_ownership());
    node.allocate(GPU, &[audio(1)]).unwrap(); // nothing is proved: it may be the same pod's next container
    node.kubelet_says(&[("a", GPU, gpu(1)), ("a", GPU, audio(1))]);
    assert_eq!(node.says(GPU, audio(1)), "Healthy Owned");
    assert!(!node.inventory.awaits_ownership());
}

#[test]
fn a_companion_is_on_offer_until_its_owner_is_known_and_a_second_has_passed() {
    let mut node = two_cards();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    node.wait(ms(100));
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    assert!(!node.inventory.awaits_ownership());
    node.wait(ms(899));
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    node.wait(ms(1));
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse");
    assert!(node.inventory.awaits_ownership(), "somebody waits for that group");
    let text = node.reason(AUDIO, audio(1)).to_string();
    assert_eq!(
        text,
        "IOMMU group 1 is in use: 0000:01:00.0 (nvidia.com/gpu) is claimed by pod vms/a, container compute"
    );
    assert!(node.allocate(AUDIO, &[audio(1)]).unwrap_err().to_string().contains(&text));
    assert_eq!(node.says(AUDIO, audio(2)), "Healthy Ready");
    node.wait(secs(30));
    node.kubelet_says(&[]);
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    assert!(!node.inventory.awaits_ownership());
}

#[test]
fn a_companion_stays_on_offer_while_nobody_knows_the_owner() {
    let mut node = two_cards();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.wait(secs(5));
    assert_eq!(node.says(AUDIO, audio(1)), "Healthy Ready");
    node.kubelet_says(&[("a", GPU, gpu(1))]);
    assert_eq!(node.says(AUDIO, audio(1)), "Unhealthy GroupInUse", "the second has passed before");
}

#[test]
fn the_gravest_claim_of_a_group_counts() {
    let mut node = one_resource();
    node.inventory.set_permit(permit(
        "permittedHostDevices: {pciHostDevices: [
           {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu},
           {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/gpu},
           {pciVendorSelector: '10de:1ad8', resourceName: nvidia.com/usb}]}",
    ));
    let usb = Bdf::new(0, 1, 0, 2).unwrap().into();
    node.change(&[usb], |host| {
        host.plug(usb);
        let kind = &mut host.devices.get_mut(&usb).unwrap().kind;
        *kind = Kind::Pci { pci_id: "10de:1ad8".parse().unwrap(), class: 0x0c_0330, physfn: None };
    });
    // The owner of the companion is known, that of the member of the same resource is not: it is kept back at once.
    node.allocate("nvidia.com/usb", &[usb]).unwrap();
    node.kubelet_says(&[("a", "nvidia.com/usb", usb)]);
    assert_eq!(node.says(GPU, audio(1)), "Healthy Ready");
    node.allocate(GPU, &[gpu(1)]).unwrap();
    assert_eq!(node.says(GPU, audio(1)), "Unhealthy GroupInUse");
}

/// Chooses and allocates as the kubelet does: of what is healthy and was not given out, in the agent's order.
fn admit(node: &mut Node, given: &mut Vec<DeviceId>, resource: &str) -> DeviceId {
    let table = Arc::clone(&node.resource(resource).table());
    let free = table.slots().iter().filter(|slot| slot.is_healthy() && !given.contains(&slot.id()));
    let available: Vec<String> = free.map(|slot| slot.text().to_owned()).collect();
    let wish = Wish { available: &available, required: &[], size: 1 };
    let id = node.resource(resource).prefer(wish, node.now).unwrap()[0].parse().unwrap();
    node.allocate(resource, &[id]).unwrap();
    given.push(id);
    node.now += ms(1);
    id
}

#[test]
fn every_pod_that_asks_for_a_gpu_and_its_audio_function_gets_a_pair_in_either_order() {
    for order in [[GPU, AUDIO], [AUDIO, GPU]] {
        let mut node = Node::with(|host| {
            for bus in 1..=8 {
                host.plug(gpu(bus));
                host.plug(audio(bus));
            }
        });
        // The first pod takes one function alone: the other is still on offer, and of no use to anybody else.
        let mut given = Vec::new();
        let mut owned = vec![("loner", order[0], admit(&mut node, &mut given, order[0]))];
        for pod in ["a", "b", "c", "d", "e", "f", "g"] {
            let [first, second] = order.map(|resource| (pod, resource, admit(&mut node, &mut given, resource)));
            assert_eq!(node.inventory.host().group_of(first.2), node.inventory.host().group_of(second.2), "{pod}");
            owned.extend([first, second]);
        }
        node.kubelet_says(&owned);
        for (pod, resource, id) in owned {
            assert_eq!(node.inventory.fence(resource, &[id]), Fence::Open, "{pod}");
        }
    }
}

#[test]
fn of_two_pods_that_take_one_function_each_exactly_one_starts() {
    let mut node = two_cards();
    node.allocate(AUDIO, &[audio(1)]).unwrap();
    node.allocate(GPU, &[gpu(1)]).unwrap();
    node.kubelet_says(&[("a", AUDIO, audio(1)), ("b", GPU, gpu(1))]);
    assert_eq!(node.inventory.fence(AUDIO, &[audio(1)]), Fence::Open);
    let Fence::Shut(conflict) = node.inventory.fence(GPU, &[gpu(1)]) else { panic!("both start") };
    assert_eq!((conflict.other, conflict.resource.as_str()), (audio(1), AUDIO));
    node.wait(secs(30));
    node.kubelet_says(&[("b", GPU, gpu(1))]);
    assert_eq!(node.inventory.fence(GPU, &[gpu(1)]), Fence::Open);
}
