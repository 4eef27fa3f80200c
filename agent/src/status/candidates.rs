//! Every candidate of a host, as `vfiod devices` shows it: from the inventory of the running daemon, or from that of one
//! look at the host.

use crate::holders::{Tracker, Use, usage};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vfiod_core::{
    device::{DevNodes, Device, DeviceId, Group, GroupId, Kind},
    health::Verdict,
    inventory::Inventory,
    permit::Resource,
};
use vfiod_proto::status::{Candidate, DeviceList, GroupMember, IommuGroup, MdevFacts, PciFacts};

/// As many devices are looked at in one go: the reactor goes on between two of them.
const AT_ONCE: usize = 250;

/// Some of the candidates, in the order of their ids.
#[derive(Debug, Default)]
pub struct Piece {
    devices: Vec<(DeviceId, Candidate)>,
    groups: BTreeMap<GroupId, IommuGroup>,
    /// After which device the next piece begins; none where this is the last one.
    pub next: Option<DeviceId>,
}

/// A permitted resource, as far as there is something to say of it.
#[derive(Debug)]
pub struct Permitted {
    name: String,
    /// Its name, and what selects its devices.
    selectors: String,
    /// Why it is not served; none where it is.
    unserved: Option<String>,
}

/// The candidates that follow on `after`: every device that a permit selects, bound or not, and at last those that are
/// listed or owned although they are gone; with `others`, also what is bound to a VFIO driver and not permitted.
///
/// A device that is listed is shown as the kubelet's list has it; any other as it would be judged `now`.
#[must_use]
pub fn piece(inventory: &Inventory, tracker: &Tracker, others: bool, after: Option<DeviceId>, now: Duration) -> Piece {
    let (host, permit) = (inventory.host(), inventory.permit());
    let mut piece = Piece::default();
    let show = |piece: &mut Piece, resource: Option<&str>, id: DeviceId| {
        piece.devices.push((id, candidate(inventory, tracker, resource, id, now)));
        if let Some(found) = host.group_of(id).and_then(|id| host.group(id)) {
            piece.groups.entry(found.id).or_insert_with(|| group(&found));
        }
    };
    for (count, device) in host.devices_after(after).enumerate() {
        if count == AT_ONCE {
            return piece;
        }
        piece.next = Some(device.id);
        // One that changed hands while it was in use is listed under the resource that gave it out.
        let mut listed = inventory.listed_as(device.id).peekable();
        if listed.peek().is_some() {
            listed.for_each(|view| show(&mut piece, Some(view.resource.as_str()), device.id));
            continue;
        }
        let permitted = permit.resource_of(device).map(|resource| resource.name.as_str());
        if permitted.is_some() || (others && device.binding.is_vfio()) {
            show(&mut piece, permitted, device.id);
        }
    }
    piece.next = None;
    let listed = inventory.listed().map(|view| (view.resource.as_str(), view.slot.id()));
    let owned = permit.resources().iter().flat_map(|resource| {
        let name = resource.name.as_str();
        inventory.ledger().claimed_under(name).map(move |id| (name, id))
    });
    let gone: BTreeSet<_> = listed.chain(owned).filter(|&(_, id)| host.device(id).is_none()).collect();
    gone.into_iter().for_each(|(name, id)| show(&mut piece, Some(name), id));
    piece
}

/// All pieces as one list: by resource, then by id. Whether the host could be read in full (`complete`) is for the caller
/// to say.
#[must_use]
pub fn gather(pieces: impl IntoIterator<Item = Piece>) -> DeviceList {
    let (mut devices, mut groups) = (Vec::new(), BTreeMap::new());
    for piece in pieces {
        devices.extend(piece.devices);
        groups.extend(piece.groups);
    }
    let order = |of: &Candidate| of.resource.is_none();
    devices.sort_by(|(one, a), (other, b)| (order(a), &a.resource, one).cmp(&(order(b), &b.resource, other)));
    DeviceList {
        complete: false,
        devices: devices.into_iter().map(|(_, candidate)| candidate).collect(),
        iommu_groups: groups.into_values().collect(),
    }
}

/// All candidates at once.
#[must_use]
pub fn candidates(inventory: &Inventory, tracker: &Tracker, others: bool, now: Duration) -> DeviceList {
    let mut pieces = vec![piece(inventory, tracker, others, None, now)];
    while let Some(after) = pieces.last().and_then(|piece| piece.next) {
        pieces.push(piece(inventory, tracker, others, Some(after), now));
    }
    gather(pieces)
}

/// What is permitted.
#[must_use]
pub fn permitted(inventory: &Inventory) -> Vec<Permitted> {
    let resources = inventory.permit().resources().iter();
    let permitted = resources.map(|resource| Permitted {
        name: resource.name.to_string(),
        selectors: selectors(resource),
        unserved: (!resource.is_served()).then(|| resource.serving.to_string()),
    });
    permitted.collect()
}

/// What is worth saying although no device says it: resources without one, resources that somebody else serves.
#[must_use]
pub fn remarks(permitted: &[Permitted], list: &DeviceList) -> Vec<String> {
    let shown: BTreeSet<&str> = list.devices.iter().filter_map(|device| device.resource.as_deref()).collect();
    let (present, missing): (Vec<&Permitted>, Vec<&Permitted>) =
        permitted.iter().partition(|resource| shown.contains(resource.name.as_str()));
    let mut remarks = Vec::new();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(|resource| resource.selectors.as_str()).collect();
        remarks.push(format!(
            "no device on this host matches {}; compare with `lspci -nn` and with the files \
             /sys/bus/mdev/devices/*/mdev_type/name",
            missing.join(", nor ")
        ));
    }
    let unserved = present.into_iter().filter_map(|Permitted { name, unserved, .. }| Some((name, unserved.as_ref()?)));
    remarks.extend(unserved.map(|(name, why)| format!("{name}: {why}")));
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
        Kind::Mdev(mdev) => (
            None,
            Some(MdevFacts {
                name: mdev.type_name.to_string(),
                r#type: mdev.type_id.to_string(),
                parent: mdev.parent.to_string(),
            }),
        ),
    }
}

/// The nodes through which the device is opened, as far as they exist.
fn nodes(inventory: &Inventory, device: &Device) -> Vec<String> {
    let nodes = inventory.host().nodes();
    let group = device.group.and_then(|group| inventory.host().group(group));
    let group = group.filter(|group| nodes.has_group(device, group)).map(|group| DevNodes::group_path(device, &group));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{HostRoot, scan};
    use std::sync::Arc;
    use vfiod_core::{
        inventory::Completeness,
        permit::{ServeMode, parse},
    };
    use vfiod_simulator::node::{Node, PciFleet, PciSpec};

    #[test]
    fn pieces_come_to_the_whole_list_in_its_order() {
        // More than two pieces, two resources whose ids are in turns, and one device that nobody permits.
        let fleet = |id: &str, domain| PciFleet::new(id, 300).first_domain(domain).driver("vfio-pci");
        let node = Node::builder()
            .pci_fleet(&fleet("10DE:1EB8", 0x10))
            .pci_fleet(&fleet("8086:6F54", 0x20))
            .pci_fleet(&fleet("10DE:1EB8", 0x30))
            .pci(PciSpec::new("0000:01:00.0", "144D:A808").driver("vfio-pci").group(1))
            .build()
            .unwrap();
        let text = "permittedHostDevices:\n  pciHostDevices:\n  - {pciVendorSelector: '10DE:1EB8', resourceName: b.com/gpu}\n  - {pciVendorSelector: '8086:6F54', resourceName: a.com/qat}\n";
        let mut inventory = Inventory::default();
        inventory.set_permit(Arc::new(parse(text, ServeMode::All).unwrap().permit));
        let found = scan(&HostRoot::new(node.root()));
        let complete = Completeness { pci: true, mdev: true, ..Completeness::default() };
        inventory.scanned(found.devices, found.groups, found.nodes, &complete);
        inventory.settle(Duration::ZERO);

        let (tracker, mut after, mut pieces) = (Tracker::default(), None, 0);
        loop {
            let piece = piece(&inventory, &tracker, true, after, Duration::ZERO);
            assert!(piece.devices.len() <= AT_ONCE);
            (after, pieces) = (piece.next, pieces + 1);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pieces, 4);
        for (others, count) in [(false, 900), (true, 901)] {
            let list = candidates(&inventory, &tracker, others, Duration::ZERO);
            let names: Vec<_> =
                list.devices.iter().map(|one| (one.resource.is_none(), &one.resource, &one.id)).collect();
            assert_eq!(names.len(), count);
            assert!(names.is_sorted_by(|one, next| one < next), "each once, by resource and id");
            assert!(list.iommu_groups.is_sorted_by(|one, next| one.id < next.id));
        }
    }
}
