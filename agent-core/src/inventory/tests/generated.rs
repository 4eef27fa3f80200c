//! Whatever happens in whatever order: what is said at last depends on what holds at last.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Plug(u8, u8),
    Unplug(u8, u8),
    Bind(u8, u8, u8),
    Node(u8, bool),
    Container(bool),
    NoIommu(u8, bool),
    Permit(usize),
    Allocate(u8, u8),
    Kubelet(Vec<(u8, u8, u8)>),
    Rescan,
    Wait(u64),
}

const PERMITS: [&str; 4] = [
    PERMIT,
    "allowNoIommu: true\npermittedHostDevices: {pciHostDevices: [
       {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu},
       {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/gpu}]}",
    "permittedHostDevices: {pciHostDevices: [{pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/t4}]}",
    "permittedHostDevices: {pciHostDevices: []}",
];
const RESOURCES: [&str; 3] = [GPU, AUDIO, "nvidia.com/t4"];
const PODS: [&str; 3] = ["a", "b", "c"];

fn event() -> impl Strategy<Value = Event> {
    let (bus, function) = (|| 1u8..4, || 0u8..2);
    let owned = prop::collection::vec((0u8..3, 1u8..4, 0u8..2), 0..4);
    prop_oneof![
        3 => (bus(), function()).prop_map(|(bus, function)| Event::Plug(bus, function)),
        2 => (bus(), function()).prop_map(|(bus, function)| Event::Unplug(bus, function)),
        3 => (bus(), function(), 0u8..3).prop_map(|(bus, function, driver)| Event::Bind(bus, function, driver)),
        2 => (bus(), any::<bool>()).prop_map(|(bus, exists)| Event::Node(bus, exists)),
        1 => any::<bool>().prop_map(Event::Container),
        1 => (bus(), any::<bool>()).prop_map(|(bus, on)| Event::NoIommu(bus, on)),
        1 => (0..PERMITS.len()).prop_map(Event::Permit),
        3 => (bus(), function()).prop_map(|(bus, function)| Event::Allocate(bus, function)),
        2 => owned.prop_map(Event::Kubelet),
        1 => Just(Event::Rescan),
        2 => (0u64..70_000).prop_map(Event::Wait),
    ]
}

fn function(bus: u8, function: u8) -> DeviceId {
    Bdf::new(0, bus, 0, function).unwrap().into()
}

/// All that the kubelet is told, by resource and device, and what it can allocate.
fn said(node: &Node) -> BTreeMap<(String, DeviceId), (Health, Reason, Option<GroupId>)> {
    let mut all = BTreeMap::new();
    for view in node.inventory.listed() {
        let table = node.resource(view.resource.as_str()).table();
        let slot = table.get(view.slot.id()).unwrap();
        assert!(Arc::ptr_eq(slot, view.slot), "what is published is what was judged");
        let verdict = slot.verdict();
        assert_eq!(slot.is_healthy(), verdict.health == Health::Healthy);
        // A device that is gone stays what it was, which only the agent knows that has seen it.
        let group = slot.group().filter(|_| verdict.reason != Reason::Removed);
        all.insert((view.resource.to_string(), slot.id()), (verdict.health, verdict.reason.clone(), group));
    }
    for (name, resource) in &node.resources {
        let count = all.keys().filter(|(resource, _)| resource == name).count();
        assert_eq!(resource.table().slots().len(), count, "nothing else is published");
    }
    all
}

fn play(node: &mut Node, event: Event, driven: &mut usize) {
    match event {
        Event::Plug(bus, number) => {
            let id = function(bus, number);
            node.change(&[id], |host| host.plug(id));
        }
        Event::Unplug(bus, number) => {
            let id = function(bus, number);
            if node.world.devices.contains_key(&id) {
                node.change(&[id], |host| host.unplug(id));
            }
        }
        Event::Bind(bus, number, driver) => {
            let id = function(bus, number);
            if node.world.devices.contains_key(&id) {
                let binding = [vfio(), host("nvidia"), Binding::Unbound][usize::from(driver)].clone();
                node.change(&[id], |host| host.bind(id, binding));
            }
        }
        Event::Node(bus, exists) => {
            let group = GroupId::from(bus);
            if exists {
                node.world.nodes.groups.insert(group)
            } else {
                node.world.nodes.groups.remove(&group)
            };
            node.node(&DevNode::Group(group), exists);
        }
        Event::Container(exists) => {
            node.node(&DevNode::Container, exists);
        }
        Event::NoIommu(bus, on) => {
            let group = GroupId::from(bus);
            node.change(&[function(bus, 0), function(bus, 1)], |host| {
                if on {
                    host.noiommu.insert(group);
                    host.nodes.noiommu.insert(group);
                } else {
                    host.noiommu.remove(&group);
                }
            });
        }
        Event::Permit(number) => {
            *driven = number;
            node.inventory.set_permit(permit(PERMITS[number]));
            node.settle();
        }
        Event::Allocate(bus, number) => {
            let id = function(bus, number);
            let open = node.inventory.listed().find(|view| view.slot.id() == id).map(|view| view.resource.to_string());
            if let Some(resource) = open {
                let _ = node.allocate(&resource, &[id]);
            }
        }
        Event::Kubelet(owned) => {
            let owned: Vec<(&str, &str, DeviceId)> = owned
                .into_iter()
                .map(|(pod, bus, number)| {
                    (PODS[usize::from(pod)], RESOURCES[usize::from(bus + number) % 3], function(bus, number))
                })
                .collect();
            node.kubelet_says(&owned);
        }
        Event::Rescan => {
            let before = said(node);
            assert!(node.rescan().transitions.is_empty(), "events have told everything");
            assert_eq!(said(node), before);
        }
        Event::Wait(time) => node.wait(ms(time)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_said_at_last_depends_on_what_holds_at_last(events in prop::collection::vec(event(), 1..40)) {
        let mut node = Node::idle();
        let mut permitted = 0;
        for event in events {
            play(&mut node, event, &mut permitted);
            for view in node.inventory.listed() {
                if view.claim.is_some() {
                    let whole = !matches!(
                        view.slot.verdict().reason.code(),
                        "Removed" | "DriverUnbound" | "HostDriver" | "NodeMissing" | "NoIommuGroup"
                    );
                    prop_assert_eq!(view.slot.is_healthy(), whole, "an owned device is unhealthy only when it is broken");
                }
                // Most grants are settled without judging the device: it must make no difference.
                let examined = node.inventory.examine(Some(view.resource.as_str()), view.slot.id(), node.now);
                let claimed = |reason: &Reason| *reason == Reason::Claimed;
                prop_assert_eq!(claimed(&view.slot.verdict().reason), claimed(&examined.reason));
            }
        }
        // Let everything pass that depends on time: flapping, the minute of the unbound, the second of companions.
        node.wait(secs(70));
        let mut fresh = Node { world: node.world.clone(), now: node.now, ..Node::permitting(PERMITS[permitted]) };
        fresh.inventory.ledger = node.inventory.ledger.clone();
        fresh.inventory.set_permit(permit(PERMITS[permitted]));
        fresh.rescan();
        let (kept, served): (BTreeMap<_, _>, BTreeMap<_, _>) = said(&node)
            .into_iter()
            .partition(|((resource, _), _)| !fresh.inventory.listings.contains_key(resource.as_str()));
        prop_assert_eq!(served, said(&fresh));
        for (resource, id) in kept.keys() {
            prop_assert!(node.inventory.ledger.claim(resource, *id).is_some(), "kept without an owner");
        }
    }
}
