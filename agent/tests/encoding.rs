//! The prepared messages are what prost writes and reads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use prost::Message;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use uuid::Uuid;
use vfiod_core::{
    allocator::{Register, Resource, Wish, put_allocate_response, wire},
    device::{Bdf, Binding, DevNodes, Device, DeviceId, Kind, Mdev, Node},
    inventory::{Completeness, Inventory},
    ownership::note,
    permit::ServeMode,
};
use vfiod_proto::{
    HEALTHY, UNHEALTHY,
    deviceplugin::{
        self as api, AllocateRequest, AllocateResponse, ContainerAllocateRequest, ContainerAllocateResponse,
        ContainerPreferredAllocationRequest, ContainerPreferredAllocationResponse, DeviceSpec, ListAndWatchResponse,
        NumaNode, TopologyInfo,
    },
};

const NOW: Duration = Duration::from_secs(100);
const PERMIT: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: nvidia.com/Mixed}
  mediatedDevices:
  - {mdevNameSelector: GRID T4-1Q, resourceName: nvidia.com/Mixed}
";

/// One device: its id, NUMA node, group and whether it has a character device.
type Shape = (DeviceId, Option<u32>, u32, bool);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let domain = prop_oneof![4 => Just(0u32), 2 => 0u32..3, 1 => 0x10000u32..0x10010, 1 => any::<u32>()];
    let pci = (domain, any::<u8>(), 0u8..32, 0u8..8)
        .prop_map(|(domain, bus, device, function)| Bdf::new(domain, bus, device, function).unwrap().into());
    let id = prop_oneof![3 => pci, 1 => any::<u128>().prop_map(|uuid| Uuid::from_u128(uuid).into())];
    let numa = prop_oneof![Just(None), Just(Some(0)), (1u32..4).prop_map(Some), any::<u32>().prop_map(Some)];
    prop::collection::vec((id, numa, 0u32..60, any::<bool>()), 0..60)
}

/// A resource with these devices; those in `gone` have lost their node.
fn resource(shapes: &[Shape], gone: &BTreeSet<usize>) -> (Inventory, Option<Arc<Resource>>) {
    let mut inventory = Inventory::default();
    inventory.set_permit(Arc::new(vfiod_core::permit::parse(PERMIT, ServeMode::All).unwrap().permit));
    let mut nodes = DevNodes { container: true, ..DevNodes::default() };
    let mut devices = Vec::new();
    for (place, &(id, numa, group, cdev)) in shapes.iter().enumerate() {
        let kind = if id.is_mdev() {
            Kind::Mdev(Box::new(Mdev {
                type_name: "GRID T4-1Q".into(),
                type_id: "nvidia-222".into(),
                parent: "p".into(),
            }))
        } else {
            Kind::Pci { pci_id: "10de:1eb8".parse().unwrap(), class: 0x03_0000, physfn: None }
        };
        let cdevs: vfiod_core::device::CdevNames =
            cdev.then_some(vfiod_core::device::CdevName::Numbered(place as u32)).into_iter().collect();
        nodes.cdevs.extend(cdevs.iter().cloned());
        nodes.groups.insert(group);
        devices.push(Device { id, kind, binding: Binding::Vfio("vfio-pci".into()), group: Some(group), numa, cdevs });
    }
    devices.sort_by_key(|device| device.id);
    devices.dedup_by_key(|device| device.id);
    let complete = Completeness { pci: true, mdev: true, unreadable: BTreeSet::new() };
    inventory.scanned(devices, Vec::new(), Some(nodes), &complete);
    let opened = inventory.settle(NOW).opened.pop();
    for &place in gone {
        if let Some(&(_, _, group, _)) = shapes.get(place) {
            inventory.node_changed(&Node::Group(group), false);
        }
    }
    inventory.settle(NOW);
    (inventory, opened)
}

/// The list as the ordinary way makes it.
fn ordinary_list(resource: &Resource) -> ListAndWatchResponse {
    let table = resource.table();
    let devices = table.slots().iter().map(|slot| api::Device {
        id: slot.id().to_string(),
        health: if slot.is_healthy() { HEALTHY } else { UNHEALTHY }.to_owned(),
        topology: slot.numa().map(|node| TopologyInfo { nodes: vec![NumaNode { id: node.into() }] }),
    });
    ListAndWatchResponse { devices: devices.collect() }
}

/// The answer for one container as the ordinary way makes it.
fn ordinary_response(resource: &Resource, ids: &[DeviceId], order: u64) -> ContainerAllocateResponse {
    let (table, variables) = (resource.table(), resource.variables());
    let mut response = ContainerAllocateResponse::default();
    for (names, mdev) in [(&variables.pci, false), (&variables.mdev, true)] {
        let of_kind = ids.iter().filter(|id| id.is_mdev() == mdev);
        let value = of_kind.map(ToString::to_string).collect::<Vec<_>>().join(",");
        if !value.is_empty() {
            response.envs.extend(names.iter().map(|name| (name.clone(), value.clone())));
        }
    }
    let mut paths: Vec<String> = ids.first().map(|_| DevNodes::CONTAINER.to_owned()).into_iter().collect();
    for node in ids.iter().flat_map(|&id| table.get(id).unwrap().nodes()) {
        if !paths.contains(&node) {
            paths.push(node);
        }
    }
    let spec = |path: String| DeviceSpec { container_path: path.clone(), host_path: path, permissions: "mrw".into() };
    response.devices = paths.into_iter().map(spec).collect();
    response.annotations.extend([note(resource.name().as_str(), order)]);
    response
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_list_is_byte_for_byte_the_ordinary_one(shapes in shapes(), gone in prop::collection::btree_set(0usize..60, 0..12)) {
        let (_inventory, resource) = resource(&shapes, &gone);
        let resource = resource.unwrap();
        let list = resource.list();
        let bytes = list.to_bytes();
        prop_assert_eq!(list.encoded_len(), bytes.len());
        prop_assert_eq!(bytes, ordinary_list(&resource).encode_to_vec());
        prop_assert!(list.says_the_same(&resource.list()));
    }

    #[test]
    fn lists_say_the_same_exactly_where_the_ordinary_ones_are_equal(
        shapes in shapes(),
        changed in prop::option::of(0usize..60),
        gone in prop::collection::btree_set(0usize..60, 0..3),
        others in prop::collection::btree_set(0usize..60, 0..3),
    ) {
        let mut other = shapes.clone();
        if let Some(shape) = changed.and_then(|place| other.get_mut(place)) {
            shape.1 = Some(7);
        }
        let (_one, one) = resource(&shapes, &gone);
        let (_two, two) = resource(&other, &others);
        let (one, two) = (one.unwrap(), two.unwrap());
        prop_assert_eq!(one.list().says_the_same(&two.list()), ordinary_list(&one) == ordinary_list(&two));
    }

    #[test]
    fn an_answer_says_what_the_ordinary_one_says(
        shapes in shapes(),
        picks in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..9), 0..4),
    ) {
        let (_inventory, resource) = resource(&shapes, &BTreeSet::new());
        let resource = resource.unwrap();
        let table = resource.table();
        let picks: Vec<Vec<DeviceId>> = picks
            .iter()
            .map(|picks| match table.slots() {
                [] => Vec::new(),
                slots => picks.iter().map(|pick| pick.get(slots).id()).collect(),
            })
            .collect();
        let containers = picks.iter().map(|ids| ContainerAllocateRequest {
            devices_ids: ids.iter().map(ToString::to_string).collect(),
        });
        let request = AllocateRequest { container_requests: containers.collect() }.encode_to_vec();
        let requests = wire::allocate_request(&request).unwrap();
        let grants = Register::default().grant(&resource, &requests, NOW).unwrap();
        let mut answer = Vec::new();
        put_allocate_response(&mut answer, &resource, &grants);
        let ordinary = picks.iter().zip(1..).map(|(ids, order)| {
            let mut seen = BTreeSet::new();
            let once: Vec<DeviceId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
            ordinary_response(&resource, &once, order)
        });
        let ordinary = AllocateResponse { container_responses: ordinary.collect() };
        // Maps have no order, so the messages are compared and not their bytes.
        prop_assert_eq!(answer.len(), ordinary.encoded_len());
        prop_assert_eq!(AllocateResponse::decode(answer.as_slice()).unwrap(), ordinary);
    }

    #[test]
    fn advice_on_a_request_as_it_came_is_the_advice_on_its_texts(
        shapes in shapes(),
        offered in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        required in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        strangers in prop::collection::vec("[0-9a-f:.]{0,14}", 0..4),
        size in -1i32..12,
    ) {
        let (_inventory, resource) = resource(&shapes, &BTreeSet::from([1, 5]));
        let resource = resource.unwrap();
        let table = resource.table();
        let texts = |picks: &[prop::sample::Index]| -> Vec<String> {
            match table.slots() {
                [] => Vec::new(),
                slots => picks.iter().map(|pick| pick.get(slots).text().to_owned()).collect(),
            }
        };
        let (mut available, required) = (texts(&offered), texts(&required));
        available.extend(strangers);
        let wish = Wish { available: &available, required: &required, size: usize::try_from(size).unwrap_or_default() };
        let expected = resource.prefer(wish, NOW);
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: available.clone(),
            must_include_device_i_ds: required.clone(),
            allocation_size: size,
        };
        let mut answer = Vec::new();
        match resource.prefer_encoded(&request.encode_to_vec(), NOW, &mut answer) {
            Ok(()) => {
                let answer = ContainerPreferredAllocationResponse::decode(answer.as_slice()).unwrap();
                prop_assert_eq!(answer.device_i_ds, expected.unwrap());
            }
            Err(error) => prop_assert_eq!(error, expected.unwrap_err()),
        }
    }

    #[test]
    fn a_request_of_any_bytes_is_read_as_prost_reads_it_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let (Ok(ours), Ok(theirs)) = (wire::allocate_request(&bytes), AllocateRequest::decode(bytes.as_slice())) {
            let theirs: Vec<Vec<&str>> =
                theirs.container_requests.iter().map(|c| c.devices_ids.iter().map(String::as_str).collect()).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
