//! One device: what is true, what is missing, what to do next.

use super::{held_object, standing};
use crate::holders::{Sight, Tracker};
use std::time::Duration;
use vfiod_core::{
    device::{Binding, DevNodes, Device, DeviceId, Group, Kind, Mdev, MemberName},
    health::{Reason, Verdict},
    holding::Object,
    inventory::Inventory,
    ownership::Claim,
};
use vfiod_proto::status::{Explanation, Finding, HeldObject};

/// All that is known of one device; `None` where neither the host nor the kubelet knows it.
#[must_use]
pub fn explain(inventory: &Inventory, tracker: &Tracker, id: DeviceId, now: Duration) -> Option<Explanation> {
    let device = inventory.host().device(id);
    let claim = inventory.ledger().of(id).next();
    if device.is_none() && claim.is_none() {
        return None;
    }
    let (resource, _) = standing(inventory, id);
    let listed = inventory.listed_as(id).next();
    let verdict = match &listed {
        Some(view) => Verdict::clone(&view.slot.verdict()),
        None => inventory.examine(resource.as_deref(), id, now),
    };
    let mut findings = vec![presence(device)];
    if let Some(device) = device {
        findings.push(permit(inventory, device));
        findings.push(driver(device));
        findings.push(group(inventory, device));
        findings.push(nodes(inventory, device));
    }
    findings.push(owner(claim));
    findings.extend(siblings(inventory, id));
    findings.push(holders(inventory, tracker, id));
    if matches!(verdict.reason, Reason::AerFatal | Reason::Cordoned | Reason::Settling) {
        findings.push(bad("faults", verdict.reason.to_string(), verdict.reason.remedy()));
    }
    Some(Explanation {
        sight: Some(tracker.sight().to_status()),
        device: id.to_string(),
        resource,
        health: verdict.health.to_string(),
        reason: verdict.reason.code().to_owned(),
        message: verdict.reason.to_string(),
        listed: listed.is_some(),
        findings,
    })
}

fn finding(subject: &str, standing: &str, text: String, next_step: Option<String>) -> Finding {
    Finding { subject: subject.to_owned(), standing: standing.to_owned(), text, next_step }
}

fn good(subject: &str, text: String) -> Finding {
    finding(subject, "good", text, None)
}

fn note(subject: &str, text: String) -> Finding {
    finding(subject, "note", text, None)
}

fn bad(subject: &str, text: String, next_step: Option<String>) -> Finding {
    finding(subject, "bad", text, next_step)
}

fn presence(device: Option<&Device>) -> Finding {
    let Some(device) = device else {
        return bad(
            "presence",
            Reason::Removed.to_string(),
            Some("plug it in again, or end the pod that owns it".into()),
        );
    };
    let numa = device.numa.map_or_else(|| "no NUMA node".to_owned(), |node| format!("NUMA node {node}"));
    let text = match &device.kind {
        Kind::Pci { pci_id, class, physfn } => {
            let of = physfn.map(|physfn| format!(", a virtual function of {physfn}")).unwrap_or_default();
            format!("PCI device {pci_id}, class {class:06x}{of}, {numa}")
        }
        Kind::Mdev(mdev) => {
            let Mdev { type_name, type_id, parent } = &**mdev;
            format!("mediated device of type {type_name:?} ({type_id}) on {parent}, {numa}")
        }
    };
    good("presence", text)
}

fn permit(inventory: &Inventory, device: &Device) -> Finding {
    match inventory.permit().resource_of(device) {
        Some(resource) if resource.is_served() => {
            good("permit", format!("permitted as {}, served by vfiod", resource.name))
        }
        Some(resource) => bad("permit", format!("permitted as {}: {}", resource.name, resource.serving), None),
        None if inventory.permit().resources().is_empty() => {
            note("permit", "nothing is permitted, as far as is known here; name the configuration with --config".into())
        }
        None => {
            let entry = match &device.kind {
                Kind::Pci { pci_id, .. } => {
                    format!("pciHostDevices with pciVendorSelector: {:?}", pci_id.to_string().to_uppercase())
                }
                Kind::Mdev(mdev) => format!("mediatedDevices with mdevNameSelector: {:?}", mdev.type_name),
            };
            bad("permit", "no entry of the configuration selects it".into(), Some(format!("add an entry to {entry}")))
        }
    }
}

fn driver(device: &Device) -> Finding {
    let reason = match &device.binding {
        Binding::Vfio(driver) => return good("driver", format!("bound to {driver}")),
        Binding::Host(driver) => Reason::HostDriver(driver.as_ref().into()),
        Binding::Unbound => Reason::Unbound,
    };
    bad("driver", reason.to_string(), reason.remedy())
}

fn group(inventory: &Inventory, device: &Device) -> Finding {
    let Some(group) = device.group.and_then(|group| inventory.host().group(group)) else {
        return bad("group", Reason::NoGroup.to_string(), Reason::NoGroup.remedy());
    };
    if let Some(obstacle) = group.obstacle() {
        let reason = Reason::NotViable(group.id, obstacle);
        return bad("group", reason.to_string(), reason.remedy());
    }
    if group.noiommu && !device.id.is_mdev() && !inventory.permit().settings().allow_no_iommu {
        return bad("group", Reason::NoIommu(group.id).to_string(), Reason::NoIommu(group.id).remedy());
    }
    good("group", format!("IOMMU group {} is viable: {}", group.id, members(&group)))
}

fn members(group: &Group) -> String {
    let member = |name: &MemberName, driver: Option<&str>| format!("{name} ({})", driver.unwrap_or("no driver"));
    let all: Vec<String> = group.members.iter().map(|found| member(&found.name, found.driver.as_deref())).collect();
    all.join(", ")
}

fn nodes(inventory: &Inventory, device: &Device) -> Finding {
    let nodes = inventory.host().nodes();
    let Some(group) = device.group.and_then(|group| inventory.host().group(group)) else {
        return bad("nodes", "no node: the device has no IOMMU group".into(), None);
    };
    if let Some(missing) = nodes.missing(device, &group) {
        let reason = Reason::NodeMissing(missing.into());
        return bad("nodes", reason.to_string(), reason.remedy());
    }
    let paths: Vec<String> =
        std::iter::once(DevNodes::group_path(device, &group)).chain(nodes.cdev_paths(device)).collect();
    good("nodes", paths.join(", "))
}

fn owner(claim: Option<(&str, &Claim)>) -> Finding {
    match claim {
        None => good("owner", "nobody: the kubelet has given it to no pod".into()),
        Some((resource, claim)) => match claim.owner() {
            Some(owner) => note("owner", format!("{owner}, as {resource}")),
            None => note("owner", format!("claimed as {resource}; the kubelet has not said yet by which pod")),
        },
    }
}

/// Claims on other members of its group.
fn siblings(inventory: &Inventory, id: DeviceId) -> Vec<Finding> {
    let others = inventory.host().group_members(id).filter(|&other| other != id);
    let claims =
        others.flat_map(|other| inventory.ledger().of(other).map(move |(resource, claim)| (other, resource, claim)));
    claims
        .map(|(other, resource, claim)| {
            let by = claim.owner().map_or_else(|| "a pod that is not known yet".to_owned(), ToString::to_string);
            note("group", format!("{other} of the same group belongs to {by}, as {resource}"))
        })
        .collect()
}

fn holders(inventory: &Inventory, tracker: &Tracker, id: DeviceId) -> Finding {
    let members = inventory.host().group_members(id).filter(|&other| other != id);
    let group = inventory.host().group_of(id).map(Object::Group);
    let objects = std::iter::once(id).chain(members).map(Object::Device).chain(group);
    let open: Vec<HeldObject> = objects
        .filter_map(|object| Some(held_object(inventory, tracker, object, inventory.holdings().get(object)?)))
        .collect();
    if open.is_empty() {
        return match tracker.sight() {
            Sight::Kernel => good("holders", "nobody has it open".into()),
            Sight::Proc { .. } => good("holders", "nobody has it open, as far as /proc shows".into()),
            Sight::None | Sight::Failed(_) => note("holders", "not known".into()),
        };
    }
    let foreign = open.iter().flat_map(|object| &object.holders).find(|holder| holder.relation == "foreign");
    let text = open.iter().map(|object| describe(object, id)).collect::<Vec<_>>().join("; ");
    match foreign {
        Some(holder) => {
            let next = format!("end process {} ({}), or wait until it closes the device", holder.pid, holder.command);
            bad("holders", text, Some(next))
        }
        None => note("holders", text),
    }
}

fn describe(object: &HeldObject, id: DeviceId) -> String {
    let what = match object.kind.as_str() {
        "group" => format!("IOMMU group {}", object.id),
        _ if object.id == id.to_string() => "the device".to_owned(),
        _ => object.id.clone(),
    };
    let count = object.open_count.map(|count| format!(" (open count {count})")).unwrap_or_default();
    if object.holders.is_empty() {
        return format!("{what} is open{count}, and no process shows it");
    }
    let by = object.holders.iter().map(|holder| {
        let pod = holder.pod.as_ref().or(holder.pod_uid.as_ref());
        let place = pod.map_or_else(|| "no pod".to_owned(), |pod| format!("pod {pod}"));
        format!("process {} ({}) of {place}", holder.pid, holder.command)
    });
    format!("{what} is held by {}{count}", by.collect::<Vec<_>>().join(", "))
}
