//! The devices as a table for people.

use crate::cli::known::held_by;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use std::fmt::Write as _;
use vfiod_proto::status::{Candidate, DeviceList, IommuGroup, Owner};

/// More members of a group than this are counted instead of named.
const NAMED_MEMBERS: usize = 8;

/// A line a device; nothing at all where there is none.
pub(super) fn render(list: &DeviceList, wide: bool) -> String {
    if list.devices.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header(wide));
    for device in &list.devices {
        table.add_row(row(list, device, wide));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn header(wide: bool) -> Vec<&'static str> {
    let mut names = vec!["DEVICE", "RESOURCE", "TYPE", "DRIVER", "GROUP", "NUMA", "HEALTH", "OWNER", "HOLDER"];
    if wide {
        names.extend(["SERVED", "PARENT", "NODES", "GROUP MEMBERS"]);
    }
    names.push("WHY");
    names
}

fn row(list: &DeviceList, device: &Candidate, wide: bool) -> Vec<String> {
    let group = device.iommu_group.and_then(|id| group(list, id));
    let type_name = match (&device.pci, &device.mdev) {
        (Some(pci), _) => Some(pci.id.clone()),
        (None, Some(mdev)) => Some(mdev.name.clone()),
        (None, None) => None,
    };
    let mut cells = vec![
        id(device),
        dash(device.resource.clone()),
        dash(type_name),
        dash(device.driver.clone()),
        dash(device.iommu_group),
        dash(device.numa_node),
        device.health.clone(),
        dash(device.owner.as_ref().map(owner)),
        dash(holder(device)),
    ];
    if wide {
        let physfn = device.pci.as_ref().and_then(|pci| pci.physical_function.clone());
        let parent = device.mdev.as_ref().map(|mdev| mdev.parent.clone()).or(physfn);
        cells.push(if device.served { "yes" } else { "no" }.to_owned());
        cells.push(dash(parent.filter(|parent| !parent.is_empty())));
        cells.push(dash((!device.nodes.is_empty()).then(|| device.nodes.join(","))));
        cells.push(dash(group.map(members)));
    }
    cells.push(match &device.next_step {
        Some(step) => format!("{}; {step}", device.message),
        None => device.message.clone(),
    });
    // A name from sysfs may hold anything; a table has one line a device.
    cells.iter().map(|cell| cell.replace(char::is_control, "·")).collect()
}

fn dash(cell: Option<impl ToString>) -> String {
    cell.map_or_else(|| "-".to_owned(), |cell| cell.to_string())
}

/// Its id, and the one that the kubelet knows it by where that is another.
fn id(device: &Candidate) -> String {
    match &device.listed_as {
        Some(listed) if *listed != device.id => format!("{} (listed as {listed})", device.id),
        _ => device.id.clone(),
    }
}

/// The groups are in the order of their numbers.
fn group(list: &DeviceList, id: u32) -> Option<&IommuGroup> {
    list.iommu_groups.binary_search_by_key(&id, |group| group.id).ok().and_then(|at| list.iommu_groups.get(at))
}

/// The holder that matters most; none where nobody holds it.
fn holder(device: &Candidate) -> Option<String> {
    let text = held_by(&device.holders, device.open_count, device.through_group);
    (!text.is_empty()).then_some(text)
}

fn owner(owner: &Owner) -> String {
    let container = &owner.container;
    match (&owner.namespace, &owner.pod, &owner.pod_uid) {
        (Some(namespace), Some(pod), _) => format!("{namespace}/{pod} ({container})"),
        (_, _, Some(uid)) => format!("pod {uid} ({container})"),
        _ => container.clone(),
    }
}

fn members(group: &IommuGroup) -> String {
    let named = group.members.iter().take(NAMED_MEMBERS);
    let named = named.map(|member| format!("{} {}", member.name, member.driver.as_deref().unwrap_or("-")));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if group.members.len() > NAMED_MEMBERS {
        _ = write!(text, " and {} more", group.members.len() - NAMED_MEMBERS);
    }
    text
}
