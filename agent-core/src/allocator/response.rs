//! The answer to `Allocate`, assembled from parts that were prepared beforehand.

use super::{
    Grant, Resource, Slot, Variables,
    wire::{field_len, put_field, put_head, put_node},
};
use crate::{device::DevNodes, ownership::note};

/// Fields of a `ContainerAllocateResponse`.
const ENVS: u8 = 1;
const ANNOTATIONS: u8 = 4;

/// Appends the `AllocateResponse` that gives each container its grant.
pub fn put_allocate_response(to: &mut Vec<u8>, resource: &Resource, grants: &[Grant]) {
    let variables = resource.variables();
    let mut container = Vec::with_capacity(512);
    for grant in grants {
        container.clear();
        put_container(&mut container, resource, &variables, grant);
        put_field(to, 1, &container);
    }
}

fn put_container(to: &mut Vec<u8>, resource: &Resource, variables: &Variables, grant: &Grant) {
    let mut value = Vec::with_capacity(grant.slots.len() * 16);
    for (names, mdev) in [(&variables.pci, false), (&variables.mdev, true)] {
        value.clear();
        for slot in grant.slots.iter().filter(|slot| slot.id().is_mdev() == mdev) {
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(slot.name().as_bytes());
        }
        if !value.is_empty() {
            names.iter().for_each(|name| put_entry(to, ENVS, name.as_bytes(), &value));
        }
    }
    if !grant.slots.is_empty() {
        put_node(to, DevNodes::CONTAINER.as_bytes());
    }
    put_nodes(to, grant);
    let (name, order) = note(resource.name().as_str(), grant.order);
    put_entry(to, ANNOTATIONS, name.as_bytes(), order.as_bytes());
}

/// The nodes of all devices, each path once: members of a group share its node.
fn put_nodes(to: &mut Vec<u8>, grant: &Grant) {
    let mut put: Vec<&[u8]> = Vec::with_capacity(grant.slots.len() * 2);
    for name in grant.slots.iter().flat_map(|slot| Slot::node_names(slot)) {
        if !put.contains(&name) {
            put_node(to, name);
            put.push(name);
        }
    }
}

/// One entry of a map.
fn put_entry(to: &mut Vec<u8>, field: u8, name: &[u8], value: &[u8]) {
    put_head(to, field, field_len(name.len()) + field_len(value.len()));
    put_field(to, 1, name);
    put_field(to, 2, value);
}
