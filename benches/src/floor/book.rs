//! Everything the floor says, encoded beforehand.

use crate::{
    plan::{Plan, Planned},
    wire::{Fields, put_field, put_varint},
};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use vfiod_proto::{HEALTHY, UNHEALTHY};

/// The prepared bytes of all devices.
#[derive(Debug)]
pub(super) struct Book {
    variables: Vec<String>,
    /// The packed addresses, in order.
    packed: Vec<u64>,
    /// Each device's response when it is allocated alone.
    alone: Vec<Bytes>,
    /// Each device's own nodes in a response.
    nodes: Vec<Box<[u8]>>,
    /// The container node in a response.
    container: Vec<u8>,
    /// The whole list, all healthy; and where each device begins in it, and its end.
    healthy: Vec<u8>,
    places: Vec<usize>,
    /// Each device when it is unhealthy.
    unhealthy: Vec<Box<[u8]>>,
    /// Which device a node belongs to.
    by_group: HashMap<u32, u32>,
}

impl Book {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut book = Self {
            variables: plan.variables.clone(),
            packed: Vec::new(),
            alone: Vec::new(),
            nodes: Vec::new(),
            container: node("/dev/vfio/vfio"),
            healthy: Vec::new(),
            places: vec![0],
            unhealthy: Vec::new(),
            by_group: HashMap::with_capacity(plan.devices.len()),
        };
        for (place, device) in plan.devices.iter().enumerate() {
            book.packed.push(pack(device.id.as_bytes()));
            book.nodes.push(node(&format!("/dev/vfio/{}", device.group)).into());
            book.healthy.extend_from_slice(&listed(device, HEALTHY));
            book.places.push(book.healthy.len());
            book.unhealthy.push(listed(device, UNHEALTHY).into());
            book.by_group.insert(device.group, place as u32);
        }
        for (place, device) in plan.devices.iter().enumerate() {
            book.alone.push(book.response(&[device.id.as_bytes()], &[place]));
        }
        book
    }

    /// The device with a node.
    pub(super) fn by_group(&self, group: u32) -> Option<u32> {
        self.by_group.get(&group).copied()
    }

    /// The list, but for those in `ill`.
    pub(super) fn list(&self, ill: &BTreeSet<u32>) -> Bytes {
        let mut list = Vec::with_capacity(self.healthy.len() + 2 * ill.len());
        let mut from = 0;
        for &place in ill {
            let place = place as usize;
            let (Some(&start), Some(&end), Some(unhealthy)) =
                (self.places.get(place), self.places.get(place + 1), self.unhealthy.get(place))
            else {
                continue;
            };
            list.extend_from_slice(self.healthy.get(from..start).unwrap_or_default());
            list.extend_from_slice(unhealthy);
            from = end;
        }
        list.extend_from_slice(self.healthy.get(from..).unwrap_or_default());
        list.into()
    }

    /// The answer to an `AllocateRequest` for one container; `None` for an unknown id.
    pub(super) fn allocate(&self, request: &[u8]) -> Option<Bytes> {
        let (_, container) = Fields(request).next()?;
        let (mut ids, mut places) = (Vec::with_capacity(8), Vec::with_capacity(8));
        for (_, id) in Fields(container) {
            ids.push(id);
            places.push(self.packed.binary_search(&pack(id)).ok()?);
        }
        match places.as_slice() {
            &[place] => self.alone.get(place).cloned(),
            places => Some(self.response(&ids, places)),
        }
    }

    /// The first ids, whatever is offered: the floor decodes nothing.
    pub(super) fn preferred(ids: &[Planned]) -> Bytes {
        let mut container = Vec::new();
        ids.iter().for_each(|device| put_field(&mut container, 1, device.id.as_bytes()));
        let mut response = Vec::new();
        put_field(&mut response, 1, &container);
        response.into()
    }

    fn response(&self, ids: &[&[u8]], places: &[usize]) -> Bytes {
        let value = ids.join(b",".as_slice());
        let mut container = Vec::with_capacity(2 * value.len() + 256 + 48 * places.len());
        for name in &self.variables {
            let entry = 1 + 1 + name.len() + 1 + varint_len(value.len()) + value.len();
            container.push(1 << 3 | 2);
            put_varint(&mut container, entry as u64);
            put_field(&mut container, 1, name.as_bytes());
            put_field(&mut container, 2, &value);
        }
        container.extend_from_slice(&self.container);
        for nodes in places.iter().filter_map(|&place| self.nodes.get(place)) {
            container.extend_from_slice(nodes);
        }
        let mut response = Vec::with_capacity(container.len() + 4);
        put_field(&mut response, 1, &container);
        response.into()
    }
}

/// A device in a `ListAndWatchResponse`.
fn listed(device: &Planned, health: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    put_field(&mut fields, 1, device.id.as_bytes());
    put_field(&mut fields, 2, health.as_bytes());
    if let Some(numa) = device.numa {
        let (mut node, mut topology) = (Vec::new(), Vec::new());
        if numa > 0 {
            node.push(1 << 3);
            put_varint(&mut node, numa.into());
        }
        put_field(&mut topology, 1, &node);
        put_field(&mut fields, 3, &topology);
    }
    let mut listed = Vec::new();
    put_field(&mut listed, 1, &fields);
    listed
}

/// A device node in a `ContainerAllocateResponse`.
fn node(path: &str) -> Vec<u8> {
    let mut spec = Vec::new();
    put_field(&mut spec, 1, path.as_bytes());
    put_field(&mut spec, 2, path.as_bytes());
    put_field(&mut spec, 3, b"mrw");
    let mut node = Vec::new();
    put_field(&mut node, 3, &spec);
    node
}

/// The hexadecimal digits of an address as one number; not checked: the floor believes its client.
fn pack(id: &[u8]) -> u64 {
    id.iter().fold(0, |packed, byte| match byte {
        b'0'..=b'9' => packed << 4 | u64::from(byte - b'0'),
        b'a'..=b'f' => packed << 4 | u64::from(byte - b'a' + 10),
        _ => packed,
    })
}

const fn varint_len(value: usize) -> usize {
    if value < 0x80 {
        1
    } else if value < 0x4000 {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::allocate_request;
    use prost::Message;
    use vfiod_proto::deviceplugin::{AllocateResponse, ListAndWatchResponse};

    fn plan() -> Plan {
        let device = |place: u32| Planned {
            id: format!("0000:{place:02x}:00.0"),
            numa: place.checked_sub(1),
            group: 100 + place,
        };
        Plan {
            resource: "a.com/gpu".into(),
            variables: vec!["A".into(), "B".into()],
            devices: (0..20).map(device).collect(),
        }
    }

    #[test]
    fn the_list_is_what_prost_reads() {
        let (plan, ill) = (plan(), BTreeSet::from([0, 7, 19]));
        let list = ListAndWatchResponse::decode(Book::new(&plan).list(&ill)).unwrap();
        for (place, (device, planned)) in list.devices.iter().zip(&plan.devices).enumerate() {
            assert_eq!(device.id, planned.id);
            assert_eq!(device.health == UNHEALTHY, ill.contains(&(place as u32)));
            let numa = device.topology.as_ref().map(|topology| topology.nodes[0].id);
            assert_eq!(numa, planned.numa.map(i64::from));
        }
        assert_eq!(list.devices.len(), 20);
    }

    #[test]
    fn a_response_names_its_devices_and_nodes() {
        let (plan, ids) = (plan(), ["0000:03:00.0", "0000:01:00.0"]);
        for count in [1, 2] {
            let response = Book::new(&plan).allocate(&allocate_request(ids[..count].iter().copied())).unwrap();
            let response = AllocateResponse::decode(response).unwrap();
            let container = &response.container_responses[0];
            assert_eq!(container.envs["A"], ids[..count].join(","));
            assert_eq!(container.envs["B"], ids[..count].join(","));
            let paths: Vec<&str> = container.devices.iter().map(|spec| spec.host_path.as_str()).collect();
            assert_eq!(paths, ["/dev/vfio/vfio", "/dev/vfio/103", "/dev/vfio/101"][..=count]);
        }
        assert_eq!(Book::new(&plan).allocate(&allocate_request(["0000:99:00.0"])), None);
    }
}
