//! What `ListAndWatch` says.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet::Seen,
    subject::{Subject, Terms},
};
use std::collections::HashSet;
use vfiod_core::device::DeviceId;
use vfiod_proto::{HEALTHY, KUBELET_RECEIVE_LIMIT, UNHEALTHY, deviceplugin::Device};

/// The checks of this file.
pub const GROUP: Group =
    Group { name: "list", about: "what ListAndWatch says", checks: &[&FIRST, &IDS, &HEALTH, &NUMA, &SIZE] };

/// The list comes at once.
pub static FIRST: Check = Check {
    name: "list.first",
    title: "the first list comes when the stream opens",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/client.go, Run: the capacity is what the messages say, and nothing before the first",
    consequence: "The node shows no capacity of the resource until some device happens to change; pods stay Pending.",
    needs: Needs::Socket,
};

/// Ids are there, and differ.
pub static IDS: Check = Check {
    name: "list.ids",
    title: "every device of a list has an id, and each id is there once",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: devices are kept by id, the last one of an id wins",
    consequence: "The node shows fewer devices than it has.",
    needs: Needs::Socket,
};

/// Health is one of two words.
pub static HEALTH: Check = Check {
    name: "list.health",
    title: "health is exactly Healthy or Unhealthy",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: whatever is not \"Healthy\" is unhealthy",
    consequence: "Devices in perfect order are never given to a pod.",
    needs: Needs::Socket,
};

/// NUMA nodes are true.
pub static NUMA: Check = Check {
    name: "list.numa",
    title: "NUMA nodes are those of the host, and a device without one has no topology",
    source: "kubelet: pkg/kubelet/cm/devicemanager/topology_hints.go, getNUMANodeIds: a node that is not there yields no hint; sysfs says -1 of a device without a node",
    consequence: "With the topology manager, VMs are refused (\"TopologyAffinityError\") or get memory and CPUs far away from their device.",
    needs: Needs::Socket,
};

/// The message fits.
pub static SIZE: Check = Check {
    name: "list.size",
    title: "a list is at most 4 MiB long",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/client.go: grpc-go's default receive limit (kubernetes#109304)",
    consequence: "The kubelet drops the stream and the whole resource with it: 0 devices, however many there are.",
    needs: Needs::Socket,
};

/// Waits for the first list, then checks it. False when there is none.
pub(in crate::conform) async fn check(subject: &Subject, terms: &Terms, book: &mut Book) -> bool {
    let name = subject.name();
    let come = subject.stream.until(terms.patience, |seen| seen.messages > 0).await;
    let seen = subject.stream.seen();
    if !come {
        let end = seen.ended.map_or_else(
            || format!("no list within {} s", terms.patience.as_secs_f32()),
            |end| format!("the stream ended without a list ({end})"),
        );
        book.fail(&FIRST, name, end);
        return false;
    }
    book.pass(&FIRST);
    size(name, &seen, book);
    if seen.devices.is_empty() {
        book.all_unchecked(&[&IDS, &HEALTH, &NUMA], "the list is empty");
        return true;
    }
    let mut ids = HashSet::new();
    for device in seen.devices.iter() {
        if device.id.is_empty() {
            book.fail(&IDS, name, "a device has no id");
        } else if !ids.insert(device.id.as_str()) {
            book.fail(&IDS, name, format!("{:?} is listed twice", device.id));
        }
        if device.health != HEALTHY && device.health != UNHEALTHY {
            book.fail(&HEALTH, name, format!("{} has health {:?}", device.id, device.health));
        }
    }
    book.pass(&IDS);
    book.pass(&HEALTH);
    true
}

/// Checks how long the longest list was.
pub(in crate::conform) fn size(name: &str, seen: &Seen, book: &mut Book) {
    book.judge(&SIZE, name, seen.largest <= KUBELET_RECEIVE_LIMIT, || {
        format!(
            "a list of {} devices is {} bytes long, {KUBELET_RECEIVE_LIMIT} are possible",
            seen.devices.len(),
            seen.largest
        )
    });
}

/// Checks the topology, where the device's address says what the host thinks of it.
pub(in crate::conform) fn numa(subject: &Subject, terms: &Terms, book: &mut Book) {
    let seen = subject.stream.seen();
    for device in seen.devices.iter() {
        match wrong_numa(subject, terms, device) {
            None => book.pass(&NUMA),
            Some(what) => book.fail(&NUMA, subject.name(), format!("{}: {what}", device.id)),
        }
    }
}

fn wrong_numa(subject: &Subject, terms: &Terms, device: &Device) -> Option<String> {
    let said: Vec<i64> = device.topology.iter().flat_map(|topology| &topology.nodes).map(|node| node.id).collect();
    if let Some(node) = said.iter().find(|node| **node < 0) {
        return Some(format!("its topology names node {node}; leave the topology out"));
    }
    let address = address(subject, &device.id);
    let Some(truth) = address.and_then(|address| terms.host.numa(address)) else {
        let missing = said.iter().find(|node| terms.host.has_node(**node) == Some(false))?;
        return Some(format!("its topology names node {missing}, which this host does not have"));
    };
    match said.as_slice() {
        [] if truth < 0 => None,
        // Where there is but one node, nothing can be far away.
        [] if terms.host.has_node(1) != Some(true) => None,
        [] => Some(format!("it has no topology; the host has it at node {truth}")),
        [node] if *node == truth => None,
        _ if truth < 0 => Some(format!("its topology names {said:?}; the host has it at no node (-1)")),
        _ => Some(format!("its topology names {said:?}; the host has it at node {truth}")),
    }
}

/// The address of a listed device: its id, or the only address that it is given alone.
fn address(subject: &Subject, id: &str) -> Option<DeviceId> {
    if let Ok(address) = id.parse() {
        return Some(address);
    }
    let probe = subject.probes.iter().find(|probe| probe.device == id)?;
    match probe.addresses(subject.resource.as_deref()).as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    }
}
