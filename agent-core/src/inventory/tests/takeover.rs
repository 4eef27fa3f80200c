//! A node that KubeVirt's own plugin served until now: its ids are group numbers.

use super::*;
use proptest::prelude::*;

/// Both functions of a card under one resource.
const CARDS: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/gpu}
  - {pciVendorSelector: '10de:10f8', resourceName: nvidia.com/gpu}
";

/// The sources name devices, each by a former id or by its own: `pod resource device former`.
fn by_former(node: &Node, all: &[(&str, &str, DeviceId, Option<GroupId>)]) -> Reading {
    let plain: Vec<_> = all.iter().map(|&(pod, resource, device, _)| (pod, resource, device)).collect();
    let mut reading = reading(node.now, &plain);
    for source in [&mut reading.checkpoint, &mut reading.pod_resources] {
        let Source::Read(allocations) = source else { continue };
        for (allocation, &(_, _, _, former)) in allocations.iter_mut().zip(all) {
            allocation.former = former;
        }
    }
    reading
}

fn says(node: &mut Node, all: &[(&str, &str, DeviceId, Option<GroupId>)]) {
    let reading = by_former(node, all);
    node.inventory.observed(&reading);
    node.settle();
}

/// What the kubelet is told: ids and whether each is healthy.
fn told(node: &Node, resource: &str) -> Vec<(String, bool)> {
    let table = node.resource(resource).table();
    table.slots().iter().map(|slot| (slot.text().to_owned(), slot.is_healthy())).collect()
}

fn listed(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|&(id, healthy)| (id.to_owned(), healthy)).collect()
}

fn ask(node: &mut Node, resource: &str, id: &str) -> Result<String, Refusal> {
    let resource = Arc::clone(&node.resources[resource]);
    let grants = node.register.grant(&resource, &[[id]], node.now)?;
    let name = grants[0].slots[0].name().to_owned();
    node.settle();
    Ok(name)
}

#[test]
fn a_device_in_use_is_listed_under_its_owners_id_until_it_is_free() {
    let mut node = Node::with(|host| [1, 2].map(gpu).into_iter().for_each(|id| host.plug(id)));
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    assert_eq!(told(&node, GPU), listed(&[("1", true), ("0000:02:00.0", true)]));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Owned");
    node.wait(secs(120));
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    assert_eq!(told(&node, GPU).len(), 2, "counted once");
    says(&mut node, &[]);
    assert_eq!(told(&node, GPU), listed(&[("0000:01:00.0", true), ("0000:02:00.0", true)]));
    assert_eq!(node.says(GPU, gpu(1)), "Healthy Ready");
}

#[test]
fn the_former_id_is_granted_as_the_device_and_the_own_one_is_nobodys() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    // The next container of the pod: the kubelet sends the id again.
    assert_eq!(ask(&mut node, GPU, "1").unwrap(), "0000:01:00.0");
    assert!(matches!(ask(&mut node, GPU, "0000:01:00.0"), Err(Refusal::Unknown { .. })));
    assert!(matches!(ask(&mut node, GPU, "01"), Err(Refusal::Unknown { .. })));
    assert_eq!(told(&node, GPU), listed(&[("1", true)]), "still under the id that the kubelet knows");
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    assert_eq!(told(&node, GPU), listed(&[("1", true)]));
    assert!(matches!(ask(&mut node, GPU, "2"), Err(Refusal::Unknown { .. })));
}

#[test]
fn of_a_group_with_several_devices_one_has_the_former_id_and_the_others_wait() {
    let mut node = Node::permitting(CARDS);
    [gpu(1), audio(1)].into_iter().for_each(|id| node.world.plug(id));
    node.rescan();
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    assert_eq!(told(&node, GPU), listed(&[("1", true), ("0000:01:00.1", false)]));
    assert_eq!(node.says(GPU, audio(1)), "Unhealthy GroupInUse");
    says(&mut node, &[]);
    assert_eq!(told(&node, GPU), listed(&[("0000:01:00.0", true), ("0000:01:00.1", true)]));
}

#[test]
fn a_device_that_went_away_in_use_is_listed_under_the_id_that_its_owner_has() {
    let mut node = Node::idle();
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    assert_eq!(told(&node, GPU), listed(&[("1", false)]));
    node.change(&[gpu(1)], |host| host.plug(gpu(1)));
    assert_eq!(told(&node, GPU), listed(&[("1", true)]));
}

#[test]
fn a_pod_that_got_the_device_after_the_takeover_has_it_by_its_own_id() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    says(&mut node, &[("old", GPU, gpu(1), Some(1))]);
    says(&mut node, &[]);
    assert_eq!(ask(&mut node, GPU, "0000:01:00.0").unwrap(), "0000:01:00.0");
    says(&mut node, &[("new", GPU, gpu(1), None)]);
    assert_eq!(told(&node, GPU), listed(&[("0000:01:00.0", true)]));
}

#[test]
fn what_the_sources_cannot_say_changes_nothing() {
    let mut node = Node::with(|host| host.plug(gpu(1)));
    says(&mut node, &[("vm", GPU, gpu(1), Some(1))]);
    let silent = |now| Reading {
        begun: now,
        checkpoint: Source::Unavailable("gone".into()),
        pod_resources: Source::Unavailable("gone".into()),
        kubelet_up: None,
    };
    node.wait(secs(600));
    node.inventory.observed(&silent(node.now));
    node.settle();
    assert_eq!(told(&node, GPU), listed(&[("1", true)]));
}

/// Who has a card, and by which id.
#[derive(Debug, Clone, Copy)]
enum Owned {
    Nobody,
    ByOwn,
    ByFormer,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the kubelet says, in whatever order: no unit is counted twice, every owner finds its id listed and healthy,
    /// and nothing in use is on offer.
    #[test]
    fn units_ids_and_owners_always_agree(
        steps in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![Just(Owned::Nobody), Just(Owned::ByOwn), Just(Owned::ByFormer)], 4..=4,
            ),
            1..6,
        ),
        asked in prop::collection::vec(0..4u8, 0..6),
    ) {
        let mut node = Node::permitting(CARDS);
        for bus in 0..4 {
            [gpu(bus), audio(bus)].into_iter().for_each(|id| node.world.plug(id));
        }
        node.rescan();
        for (step, owned) in steps.iter().enumerate() {
            node.wait(secs(30));
            let mut all = Vec::new();
            for (bus, owned) in (0..4u8).zip(owned) {
                match owned {
                    Owned::Nobody => {}
                    Owned::ByOwn => all.push(("vm", GPU, gpu(bus), None)),
                    Owned::ByFormer => all.push(("vm", GPU, gpu(bus), Some(GroupId::from(bus)))),
                }
            }
            says(&mut node, &all);
            // The kubelet sends ids again, as it knows them.
            for &bus in asked.iter().filter(|&&bus| usize::from(bus) % 2 == step % 2) {
                if let Some(&(_, _, _, former)) = all.iter().find(|(_, _, device, _)| *device == gpu(bus)) {
                    let id = former.map_or_else(|| gpu(bus).to_string(), |former| former.to_string());
                    prop_assert_eq!(ask(&mut node, GPU, &id).unwrap(), gpu(bus).to_string());
                }
            }
            let told = told(&node, GPU);
            let ids: BTreeSet<&String> = told.iter().map(|(id, _)| id).collect();
            prop_assert_eq!((ids.len(), told.len()), (8, 8), "each unit once: {:?}", &told);
            for (_, _, device, former) in &all {
                let id = former.map_or_else(|| device.to_string(), |former| former.to_string());
                prop_assert!(told.contains(&(id, true)), "{device} of {:?} in {:?}", former, &told);
            }
            let free = told.iter().filter(|(_, healthy)| *healthy).count() - all.len();
            prop_assert_eq!(free, (4 - all.len()) * 2, "nothing of a group in use is on offer: {:?}", &told);
        }
    }
}
