//! What people and programs are told of holders, and of one device.

mod findings;

use super::{
    Tracker,
    clock::{at_boot, millis},
};
use std::{sync::Arc, time::SystemTime};
use vfiod_core::{
    device::DeviceId,
    holding::{Held, Object, Opening, Relation, relation},
    inventory::Inventory,
    ownership::{Claim, Owner},
};
use vfiod_proto::status;

pub use findings::explain;

/// All that is open, devices before groups. A group is told of only where no device of it is open: else its holder is
/// the device's.
#[must_use]
pub fn held(inventory: &Inventory, tracker: &Tracker) -> status::HoldersReply {
    let holdings = inventory.holdings();
    let mut open: Vec<(Object, &Held)> = holdings.iter().collect();
    open.sort_by_key(|&(object, _)| object);
    let is_told = |object: Object, held: &Held| match object {
        Object::Device(_) => true,
        Object::Group(group) => {
            let shown_by_a_device = |pid: u32| {
                let members = inventory.host().members_of(group);
                let mut held = members.filter_map(|id| holdings.get(Object::Device(id)));
                held.any(|held| held.shows(pid))
            };
            let device_open = inventory.host().members_of(group).any(|id| holdings.get(Object::Device(id)).is_some());
            if held.by.is_empty() {
                !device_open
            } else {
                !held.by.iter().all(|opening| shown_by_a_device(opening.process.pid))
            }
        }
    };
    let objects = open.into_iter().filter(|&(object, held)| is_told(object, held));
    status::HoldersReply {
        sight: Some(tracker.sight().to_status()),
        objects: objects.map(|(object, held)| held_object(inventory, tracker, object, held)).collect(),
    }
}

/// One process that has opened or closed one object.
#[must_use]
pub fn event(
    inventory: &Inventory,
    tracker: &Tracker,
    what: &str,
    object: Object,
    opening: Option<&Opening>,
    count: Option<u32>,
) -> status::HolderEvent {
    let status::HeldObject { kind, id, resource, owner, open_count, .. } =
        held_object(inventory, tracker, object, &Held { count, by: Vec::new() });
    status::HolderEvent {
        what: what.to_owned(),
        at_ms: millis(SystemTime::now()),
        kind,
        id,
        resource,
        owner,
        holder: opening.map(|opening| holder(inventory, tracker, object, opening)),
        open_count,
    }
}

/// Who owns a device and who has it open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Use {
    /// The resource it is claimed under; none where it is not.
    pub claimed: Option<Arc<str>>,
    /// The owner, where it is known.
    pub owner: Option<status::Owner>,
    /// Who has it open.
    pub holders: Vec<status::Holder>,
    /// Whether they have its group open, and no device of it.
    pub through_group: bool,
    /// How many open files the kernel counts.
    pub open_count: Option<u32>,
}

/// Who owns a device and who has it open; `None` where neither is so.
#[must_use]
pub fn usage(inventory: &Inventory, tracker: &Tracker, device: DeviceId) -> Option<Use> {
    let claims = || inventory.ledger().of(device);
    let holdings = inventory.holdings();
    let group = || {
        let group = inventory.host().group_of(device)?;
        let mut members = inventory.host().members_of(group);
        let device_open = members.any(|id| holdings.get(Object::Device(id)).is_some());
        holdings.get(Object::Group(group)).filter(|_| !device_open).map(|held| (Object::Group(group), held))
    };
    let held = holdings.get(Object::Device(device)).map(|held| (Object::Device(device), held)).or_else(group);
    let claimed = inventory.ledger().claimed_as(device).cloned();
    if claimed.is_none() && held.is_none() {
        return None;
    }
    let mut usage = Use { claimed, owner: claims().find_map(|(_, claim)| claim.owner()).map(owner), ..Use::default() };
    if let Some((object, held)) = held {
        usage.holders = held.by.iter().map(|opening| holder(inventory, tracker, object, opening)).collect();
        usage.through_group = matches!(object, Object::Group(_));
        usage.open_count = held.count;
    }
    Some(usage)
}

fn held_object(inventory: &Inventory, tracker: &Tracker, object: Object, held: &Held) -> status::HeldObject {
    let holders = held.by.iter().map(|opening| holder(inventory, tracker, object, opening)).collect();
    let base = status::HeldObject { open_count: held.count, holders, ..Default::default() };
    let device = match object {
        Object::Group(group) => {
            let ids = inventory.host().members_of(group);
            let mut claims = ids.clone().flat_map(|id| inventory.ledger().of(id));
            let claim = claims.find(|(_, claim)| claim.owner().is_some());
            return status::HeldObject {
                kind: "group".into(),
                id: group.to_string(),
                iommu_group: Some(group),
                resource: claim.map(|(resource, _)| resource.to_owned()),
                owner: claim.and_then(|(_, claim)| claim.owner()).map(owner),
                members: ids.map(|id| id.to_string()).collect(),
                ..base
            };
        }
        Object::Device(device) => device,
    };
    let (resource, listed) = standing(inventory, device);
    let claim = inventory.ledger().of(device).next().map(|(_, claim)| claim);
    status::HeldObject {
        kind: "device".into(),
        id: device.to_string(),
        iommu_group: inventory.host().group_of(device),
        resource,
        owner: claim.and_then(Claim::owner).map(owner),
        health: listed.as_ref().map(|(health, _)| health.clone()),
        reason: listed.map(|(_, reason)| reason),
        ..base
    }
}

/// The resource of a device, and its health with the reason's code where it is listed.
fn standing(inventory: &Inventory, device: DeviceId) -> (Option<String>, Option<(String, String)>) {
    let listed = inventory.listed_as(device).next();
    let verdict = listed.as_ref().map(|view| view.slot.verdict());
    let told = verdict.map(|verdict| (verdict.health.to_string(), verdict.reason.code().to_owned()));
    let permitted =
        || inventory.permit().resource_of(inventory.host().device(device)?).map(|found| found.name.to_string());
    (listed.map(|view| view.resource.to_string()).or_else(permitted), told)
}

fn holder(inventory: &Inventory, tracker: &Tracker, object: Object, opening: &Opening) -> status::Holder {
    let process = &opening.process;
    let claims = || {
        let group = match object {
            Object::Device(device) => inventory.host().group_of(device),
            Object::Group(group) => Some(group),
        };
        let ids = group.into_iter().flat_map(|group| inventory.host().members_of(group));
        ids.flat_map(|id| inventory.ledger().of(id)).map(|(_, claim)| claim)
    };
    let place = process.place.clone().unwrap_or_default();
    let named = |claim: &Claim| {
        let pod = &claim.owner()?.pod;
        let (namespace, name) = pod.name.as_ref().filter(|_| pod.uid.is_some() && pod.uid == place.pod)?;
        Some(format!("{namespace}/{name}"))
    };
    let relation = match relation(process, claims()) {
        Relation::Own => "own",
        Relation::Foreign => "foreign",
        Relation::Unknown => "unknown",
    };
    status::Holder {
        pid: process.pid,
        command: process.command.to_string(),
        pod: claims().find_map(named),
        pod_uid: place.pod.map(|uid| uid.to_string()),
        container_id: place.container.map(|id| id.to_string()),
        since_ms: tracker.since(object, process.pid).map(millis),
        process_started_ms: process.started.map(|started| millis(at_boot(started))),
        descriptors: opening.descriptors,
        relation: relation.to_owned(),
    }
}

fn owner(owner: &Owner) -> status::Owner {
    let name = owner.pod.name.as_ref();
    status::Owner {
        namespace: name.map(|(namespace, _)| namespace.to_string()),
        pod: name.map(|(_, pod)| pod.to_string()),
        pod_uid: owner.pod.uid.as_ref().map(ToString::to_string),
        container: owner.container.to_string(),
    }
}
