//! Many devices: what a message holds, and what an event costs.

use super::*;
use crate::allocator::MESSAGE_LIMIT;

/// A PCI function of a host with more buses than one domain has.
fn numbered(number: u32) -> DeviceId {
    let [_, domain, bus, device] = number.to_be_bytes();
    Bdf::new(domain.into(), bus, device >> 3, device & 7).unwrap().into()
}

/// `count` GPUs, each in a group of its own.
fn many(count: u32) -> World {
    let mut world = World::new();
    for number in 0..count {
        let id = numbered(number);
        world.plug(id);
        let device = world.devices.get_mut(&id).unwrap();
        device.kind = Kind::Pci { pci_id: "10de:1eb8".parse().unwrap(), class: 0x03_0000, physfn: None };
        device.group = Some(number);
        device.cdevs = [crate::device::CdevName::Numbered(number)].into();
        world.nodes.groups.insert(number);
        world.nodes.cdevs.insert(crate::device::CdevName::Numbered(number));
    }
    world
}

#[test]
fn a_list_that_the_kubelet_could_not_receive_is_cut_and_what_is_in_use_stays_on_it() {
    let mut node = Node::idle();
    // The ids of mediated devices are the longest, so the fewest of them fit.
    let ids: Vec<DeviceId> = (0..90_000).map(|number| uuid::Uuid::from_u128(number).into()).collect();
    let vgpus = ids.iter().zip(0..).map(|(&id, group)| {
        let kind = Kind::Mdev(Box::new(Mdev {
            type_name: "GRID T4-1Q".into(),
            type_id: "nvidia-222".into(),
            parent: "pf".into(),
        }));
        let binding = Binding::Vfio("vfio_mdev".into());
        Device { id, kind, binding, group: Some(group), numa: None, cdevs: Default::default() }
    });
    node.world.nodes.groups.extend(0..90_000);
    node.inventory.scanned(vgpus.collect(), Vec::new(), Some(node.world.nodes.clone()), &COMPLETE);
    let (used, late) = (ids[89_999], ids[89_998]);
    node.inventory.observed(&reading(node.now, &[("a", VGPU, used)]));

    let outcome = node.settle();
    let table = Arc::clone(&node.resource(VGPU).table());
    let size: usize = table.slots().iter().map(|slot| slot.listed_size()).sum();
    assert!(size <= MESSAGE_LIMIT && size > MESSAGE_LIMIT - 100, "{size}");
    assert!(table.slots().is_sorted_by_key(|slot| slot.id()));
    assert_eq!([node.says(VGPU, used), node.says(VGPU, late)], ["Healthy Owned", "unlisted"]);
    assert!(matches!(node.allocate(VGPU, &[late]), Err(Refusal::Unknown { .. })));
    let [overflow] = &outcome.overflows[..] else { panic!("{:?}", outcome.overflows) };
    assert_eq!((overflow.resource.as_str(), overflow.listed), (VGPU, table.slots().len()));
    assert_eq!(overflow.listed + overflow.left_out, 90_000);

    // A source that was silent at the start names the owner of one that was left out.
    node.inventory.observed(&reading(node.now, &[("a", VGPU, used), ("b", VGPU, late)]));
    assert!(node.settle().overflows.is_empty(), "it has been said how many do not fit");
    assert_eq!(node.says(VGPU, late), "Healthy Owned");
}

/// What it costs is measured in the benchmarks.
#[test]
fn on_a_large_host_an_event_concerns_its_own_device_alone() {
    let mut text = String::from("permittedHostDevices:\n  pciHostDevices:\n");
    text += "  - {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu}\n";
    for number in 0..63 {
        text += &format!("  - {{pciVendorSelector: '8086:{number:04x}', resourceName: intel.com/nic{number}}}\n");
    }
    let mut node = Node::permitting(&text);
    node.world = many(16_384);
    let first = node.rescan();
    assert_eq!(node.resource(GPU).table().slots().len(), 16_384);
    assert_eq!(first.transitions.len(), 16_384);
    let again = node.rescan();
    assert!(again.transitions.is_empty() && again.changed.is_empty(), "nothing has changed");
    let table = Arc::clone(&node.resource(GPU).table());
    for number in 0..100 {
        let outcome = node.node(&DevNode::Group(number), false);
        assert_eq!((outcome.transitions.len(), outcome.changed.len()), (1, 1));
        assert!(!node.inventory.awaits_ownership());
    }
    assert!(Arc::ptr_eq(&table, &node.resource(GPU).table()), "health changes no table");
}
