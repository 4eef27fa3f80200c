//! Every candidate of a host, as `vfiod devices` shows it: from the inventory of the running daemon, or from that of one
//! look at the host.

use crate::holders::{Tracker, Use, usage};
use std::{collections::BTreeSet, time::Duration};
use vfiod_core::{
    device::{DevNodes, Device, DeviceId, Group, Kind},
    health::Verdict,
    inventory::Inventory,
    permit::Resource,
};
use vfiod_proto::status::{Candidate, DeviceList, GroupMember, IommuGroup, MdevFacts, PciFacts};

/// Every device that a permit selects, bound or not, and those that are listed or owned although they are gone; with
/// `others`, also what is bound to a VFIO driver and not permitted. By resource, then by id.
///
/// A device that is listed is shown as the kubelet's list has it; any other as it would be judged `now`. Whether the host
/// could be read in full (`complete`) is for the caller to say.
#[must_use]
pub fn candidates(inventory: &Inventory, tracker: &Tracker, others: bool, now: Duration) -> DeviceList {
    let (host, permit) = (inventory.host(), inventory.permit());
    let of_host = host.devices().flat_map(|device| {
        let permitted = permit.resource_of(device).map(|resource| resource.name.as_str());
        let is_shown = permitted.is_some() || (others && device.binding.is_vfio());
        // One that changed hands while it was in use is listed under the resource that gave it out.
        let listed: Vec<&str> = inventory.listed_as(device.id).map(|view| view.resource.as_str()).collect();
        let alone = (listed.is_empty() && is_shown).then_some((permitted, device.id));
        listed.into_iter().map(|name| (Some(name), device.id)).chain(alone)
    });
    let mut found: Vec<(Option<&str>, DeviceId)> = of_host.collect();
    let gone = |id: DeviceId| host.device(id).is_none();
    found.extend(
        inventory
            .listed()
            .map(|view| (view.resource.as_str(), view.slot.id()))
            .chain(permit.resources().iter().flat_map(|resource| {
                let name = resource.name.as_str();
                inventory.ledger().claimed_under(name).map(move |id| (name, id))
            }))
            .filter(|&(_, id)| gone(id))
            .map(|(name, id)| (Some(name), id)),
    );
    found.sort_by_key(|&(resource, id)| (resource.is_none(), resource, id));
    found.dedup();
    let groups: BTreeSet<_> = found.iter().filter_map(|&(_, id)| host.group_of(id)).collect();
    DeviceList {
        complete: false,
        devices: found.iter().map(|&(resource, id)| candidate(inventory, tracker, resource, id, now)).collect(),
        iommu_groups: groups.into_iter().filter_map(|id| host.group(id)).map(group).collect(),
    }
}

/// What is worth saying although no device says it: resources without one, resources that somebody else serves.
#[must_use]
pub fn remarks(inventory: &Inventory, list: &DeviceList) -> Vec<String> {
    let permit = inventory.permit();
    let shown: BTreeSet<&str> = list.devices.iter().filter_map(|device| device.resource.as_deref()).collect();
    let has_device = |resource: &Resource| shown.contains(resource.name.as_str());
    let mut remarks = Vec::new();
    let missing = permit.resources().iter().filter(|resource| !has_device(resource));
    let missing: Vec<String> = missing.map(|resource| selectors(resource)).collect();
    if !missing.is_empty() {
        remarks.push(format!(
            "no device on this host matches {}; compare with `lspci -nn` and with the files \
             /sys/bus/mdev/devices/*/mdev_type/name",
            missing.join(", nor ")
        ));
    }
    let unserved = permit.resources().iter().filter(|resource| !resource.is_served() && has_device(resource));
    remarks.extend(unserved.map(|resource| format!("{}: {}", resource.name, resource.serving)));
    remarks
}

fn selectors(resource: &Resource) -> String {
    let pci = resource.pci.iter().map(ToString::to_string);
    let all: Vec<String> = pci.chain(resource.mdev.iter().cloned()).collect();
    format!("{} ({})", resource.name, all.join(", "))
}

fn candidate(
    inventory: &Inventory,
    tracker: &Tracker,
    resource: Option<&str>,
    id: DeviceId,
    now: Duration,
) -> Candidate {
    let host = inventory.host();
    let device = host.device(id);
    let listed = inventory.listed_as(id).find(|view| Some(view.resource.as_str()) == resource);
    let Verdict { health, reason } = match &listed {
        Some(view) => Verdict::clone(&view.slot.verdict()),
        None => inventory.examine(resource, id, now),
    };
    let is_served = |name: &str| {
        inventory.permit().resources().iter().any(|resource| resource.name.as_str() == name && resource.is_served())
    };
    let (pci, mdev) = device.map_or((None, None), kind);
    let Use { owner, holders, through_group, open_count, .. } = usage(inventory, tracker, id).unwrap_or_default();
    Candidate {
        id: id.to_string(),
        resource: resource.map(ToOwned::to_owned),
        served: listed.is_some() || resource.is_some_and(is_served),
        pci,
        mdev,
        driver: device.and_then(|device| device.binding.driver()).map(ToString::to_string),
        vfio: device.is_some_and(|device| device.binding.is_vfio()),
        iommu_group: host.group_of(id),
        numa_node: device.and_then(|device| device.numa),
        nodes: device.map_or_else(Vec::new, |device| nodes(inventory, device)),
        health: health.to_string(),
        reason: reason.code().to_owned(),
        message: reason.to_string(),
        next_step: reason.remedy(),
        owner,
        holders,
        through_group,
        open_count,
        listed_as: listed.map(|view| view.slot.text().to_owned()),
    }
}

fn kind(device: &Device) -> (Option<PciFacts>, Option<MdevFacts>) {
    match &device.kind {
        Kind::Pci { pci_id, class, physfn } => {
            let physical_function = physfn.map(|bdf| bdf.to_string());
            (Some(PciFacts { id: pci_id.to_string(), class: format!("{class:06x}"), physical_function }), None)
        }
        Kind::Mdev { type_name, type_id, parent } => (
            None,
            Some(MdevFacts { name: type_name.to_string(), r#type: type_id.to_string(), parent: parent.to_string() }),
        ),
    }
}

/// The nodes through which the device is opened, as far as they exist.
fn nodes(inventory: &Inventory, device: &Device) -> Vec<String> {
    let nodes = inventory.host().nodes();
    let group = device.group.and_then(|group| inventory.host().group(group));
    let group = group.filter(|group| nodes.has_group(device, group)).map(|group| DevNodes::group_path(device, group));
    group.into_iter().chain(nodes.cdev_paths(device)).collect()
}

fn group(group: &Group) -> IommuGroup {
    let members = group.members.iter().map(|member| GroupMember {
        name: member.name.to_string(),
        driver: member.driver.as_deref().map(ToOwned::to_owned),
        viable: member.is_viable(),
    });
    IommuGroup { id: group.id, viable: group.obstacle().is_none(), no_iommu: group.noiommu, members: members.collect() }
}
