//! From the inventory to what is shown of it.

use super::list::{DeviceList, Entry, GroupEntry, MdevEntry, MemberEntry, OwnerEntry, PciEntry};
use std::{collections::BTreeSet, time::Duration};
use vfiod_core::{
    device::{DevNodes, Device, DeviceId, Group, Kind},
    inventory::Inventory,
    ownership::{Claim, Owner},
    permit::Resource,
};

/// Every device that a permit selects, bound or not, and those that are gone but owned; with `others`, also what is
/// bound to a VFIO driver and not permitted. By resource, then by id.
pub(super) fn list(inventory: &Inventory, others: bool) -> DeviceList {
    let (host, permit) = (inventory.host(), inventory.permit());
    let mut found: Vec<(Option<&Resource>, DeviceId)> = host
        .devices()
        .map(|device| (permit.resource_of(device).map(AsRef::as_ref), device))
        .filter(|(resource, device)| resource.is_some() || (others && device.binding.is_vfio()))
        .map(|(resource, device)| (resource, device.id))
        .collect();
    for resource in permit.resources() {
        let owned = inventory.ledger().claimed_under(resource.name.as_str());
        found.extend(owned.filter(|&id| host.device(id).is_none()).map(|id| (Some(resource.as_ref()), id)));
    }
    found.sort_by_key(|&(resource, id)| (resource.is_none(), resource.map(|resource| resource.name.as_str()), id));
    let groups: BTreeSet<_> = found.iter().filter_map(|&(_, id)| host.group_of(id)).collect();
    DeviceList {
        devices: found.iter().map(|&(resource, id)| entry(inventory, resource, id)).collect(),
        iommu_groups: groups.into_iter().filter_map(|id| host.group(id)).map(group_entry).collect(),
        ..DeviceList::default()
    }
}

/// What is worth saying although no row says it: resources without a device, resources that somebody else serves.
pub(super) fn remarks(inventory: &Inventory, list: &DeviceList, configured: bool) -> Vec<String> {
    let permit = inventory.permit();
    let has_device = |resource: &Resource| {
        list.devices.iter().any(|device| device.resource.as_deref() == Some(resource.name.as_str()))
    };
    let mut remarks = Vec::new();
    let missing: Vec<String> = permit
        .resources()
        .iter()
        .filter(|resource| !has_device(resource))
        .map(|resource| selectors(resource))
        .collect();
    if !missing.is_empty() {
        remarks.push(format!(
            "no device on this host matches {}; compare with `lspci -nn` and with the files \
             /sys/bus/mdev/devices/*/mdev_type/name",
            missing.join(", nor ")
        ));
    }
    if list.devices.is_empty() && !configured {
        remarks.push(
            "no device on this host is bound to a VFIO driver; bind one (write vfio-pci to its driver_override, then its \
             address to /sys/bus/pci/drivers_probe), or name with --config what is permitted, to see all candidates"
                .to_owned(),
        );
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

fn entry(inventory: &Inventory, resource: Option<&Resource>, id: DeviceId) -> Entry {
    let host = inventory.host();
    let device = host.device(id);
    let name = resource.map(|resource| resource.name.as_str());
    let verdict = inventory.examine(name, id, Duration::ZERO);
    let (pci, mdev) = device.map_or((None, None), kind);
    Entry {
        id: id.to_string(),
        resource: name.map(ToOwned::to_owned),
        served: resource.is_some_and(Resource::is_served),
        pci,
        mdev,
        driver: device.and_then(|device| device.binding.driver()).map(ToString::to_string),
        vfio: device.is_some_and(|device| device.binding.is_vfio()),
        iommu_group: host.group_of(id),
        numa_node: device.and_then(|device| device.numa),
        nodes: device.map_or_else(Vec::new, |device| nodes(inventory, device)),
        health: verdict.health.to_string(),
        reason: verdict.reason.code(),
        message: verdict.reason.to_string(),
        next_step: verdict.reason.remedy(),
        owner: owner(inventory, name, id).map(owner_entry),
    }
}

fn kind(device: &Device) -> (Option<PciEntry>, Option<MdevEntry>) {
    match &device.kind {
        Kind::Pci { pci_id, class, physfn } => {
            let physical_function = physfn.map(|bdf| bdf.to_string());
            (Some(PciEntry { id: pci_id.to_string(), class: format!("{class:06x}"), physical_function }), None)
        }
        Kind::Mdev { type_name, type_id, parent } => (
            None,
            Some(MdevEntry { name: type_name.to_string(), type_id: type_id.to_string(), parent: parent.to_string() }),
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

/// The owner under this resource, or under any other: the device itself does not care as what it was given out.
fn owner<'a>(inventory: &'a Inventory, resource: Option<&str>, id: DeviceId) -> Option<&'a Owner> {
    let ledger = inventory.ledger();
    let under = resource.and_then(|resource| ledger.claim(resource, id)).and_then(Claim::owner);
    under.or_else(|| ledger.of(id).find_map(|(_, claim)| claim.owner()))
}

fn owner_entry(owner: &Owner) -> OwnerEntry {
    let name = owner.pod.name.as_ref();
    OwnerEntry {
        namespace: name.map(|(namespace, _)| namespace.to_string()),
        pod: name.map(|(_, pod)| pod.to_string()),
        pod_uid: owner.pod.uid.as_ref().map(ToString::to_string),
        container: owner.container.to_string(),
    }
}

fn group_entry(group: &Group) -> GroupEntry {
    let members = group.members.iter().map(|member| MemberEntry {
        name: member.name.to_string(),
        driver: member.driver.as_deref().map(ToOwned::to_owned),
        viable: member.is_viable(),
    });
    GroupEntry { id: group.id, viable: group.obstacle().is_none(), no_iommu: group.noiommu, members: members.collect() }
}
