//! One device as people are shown it.

use crate::holders::{Tracker, Use, usage};
use std::{collections::BTreeMap, time::Duration};
use vfiod_core::{
    allocator::Slot,
    device::DeviceId,
    health::{Health, Verdict},
    inventory::Inventory,
};
use vfiod_proto::status::{ResourceState, Row};

/// A listed device.
#[must_use]
pub fn row_of(resource: &str, slot: &Slot, usage: Option<&Use>) -> Row {
    let row = Row {
        resource: Some(resource.to_owned()),
        device: slot.text().to_owned(),
        iommu_group: slot.group(),
        numa_node: slot.numa(),
        ..Row::default()
    };
    judged(row, &slot.verdict(), usage)
}

fn judged(row: Row, verdict: &Verdict, usage: Option<&Use>) -> Row {
    let usage = usage.cloned().unwrap_or_default();
    Row {
        health: verdict.health.to_string(),
        reason: verdict.reason.code().to_owned(),
        message: verdict.reason.to_string(),
        next_step: verdict.reason.remedy(),
        owner: usage.owner,
        holders: usage.holders,
        through_group: usage.through_group,
        open_count: usage.open_count,
        ..row
    }
}

/// The devices of a host that no daemon serves, as one would list them: those that are permitted, and whatever else is
/// bound to a VFIO driver. With the state of every permitted resource.
#[must_use]
pub fn rows_of_host(inventory: &Inventory, tracker: &Tracker) -> (Vec<Row>, Vec<ResourceState>) {
    let permit = inventory.permit();
    let mut states: BTreeMap<&str, ResourceState> = permit
        .resources()
        .iter()
        .map(|resource| {
            (resource.name.as_str(), ResourceState { name: resource.name.to_string(), ..Default::default() })
        })
        .collect();
    let mut rows = Vec::new();
    let mut show = |name: Option<&str>, id: DeviceId| {
        let device = inventory.host().device(id);
        let usage = usage(inventory, tracker, id);
        let verdict = inventory.examine(name, id, Duration::ZERO);
        if let Some(state) = name.and_then(|name| states.get_mut(name)) {
            state.devices += 1;
            state.healthy += u32::from(verdict.health == Health::Healthy);
            state.owned += u32::from(usage.as_ref().is_some_and(|usage| usage.claimed.is_some()));
        }
        let row = Row {
            resource: name.map(ToOwned::to_owned),
            device: id.to_string(),
            iommu_group: inventory.host().group_of(id),
            numa_node: device.and_then(|device| device.numa),
            ..Row::default()
        };
        rows.push(judged(row, &verdict, usage.as_ref()));
    };
    for device in inventory.host().devices() {
        let resource = permit.resource_of(device).map(|resource| resource.name.as_str());
        if resource.is_some() || device.binding.is_vfio() {
            show(resource, device.id);
        }
    }
    for resource in permit.resources() {
        let name = resource.name.as_str();
        for id in inventory.ledger().claimed_under(name).filter(|&id| inventory.host().device(id).is_none()) {
            show(Some(name), id);
        }
    }
    (rows, states.into_values().collect())
}
