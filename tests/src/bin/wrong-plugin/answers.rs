//! What a container is given, and what is advised.

use super::{
    cards::Card,
    fault::Fault,
    service::{Plugin, api},
};
use tonic::Status;

/// The resource: not upper case, so that the spelling of the variable matters.
pub const RESOURCE: &str = "conform.test/Card-one";

/// What one container is given.
pub fn allocated(plugin: &Plugin, ids: &[String]) -> Result<api::ContainerAllocateResponse, Status> {
    let fault = |name: &str| plugin.fault.is(name);
    let mut cards = Vec::new();
    for id in ids {
        match plugin.cards.find(id) {
            Some((3, _)) if fault("allocate.granted") => return Err(Status::internal("the fourth card is lost")),
            Some(found) => cards.push(found),
            None if fault("allocate.unknown-id") => {}
            None if fault("allocate.unknown-status") => return Err(Status::unknown(format!("what is {id}?"))),
            None if fault("allocate.unknown-status:unnamed") => return Err(Status::not_found("no such device")),
            None => return Err(Status::not_found(format!("there is no device {id}"))),
        }
    }
    let mut response = api::ContainerAllocateResponse::default();
    let cards: Vec<&Card> = cards.into_iter().map(|(number, card)| plugin.cards.given(number, card)).collect();
    let mut addresses: Vec<String> = cards.iter().map(|card| card.address.clone()).collect();
    if fault("variables.order") {
        addresses.sort();
    }
    if fault("variables.count") {
        addresses.truncate(1);
    }
    if fault("variables.values") {
        addresses.iter_mut().for_each(|address| *address = address.replacen("0000:", "", 1));
    }
    let comma = match () {
        () if fault("variables.joined") => ", ",
        () if fault("variables.joined:semicolon") => ";",
        () => ",",
    };
    let spelled = RESOURCE.replace(['/', '.'], "_");
    let spelled = if fault("variables.name") { spelled } else { spelled.to_uppercase() };
    let prefix = if fault("variables.prefix") { "MDEV_PCI_RESOURCE" } else { "PCI_RESOURCE" };
    if !addresses.is_empty() {
        response.envs.insert(format!("{prefix}_{spelled}"), addresses.join(comma));
        response.envs.insert("CARD_COUNT".to_owned(), ids.len().to_string());
    }
    response.devices = nodes(&plugin.fault, cards.iter().map(|card| card.group));
    Ok(response)
}

fn nodes(fault: &Fault, groups: impl Iterator<Item = u32>) -> Vec<api::DeviceSpec> {
    let node = |path: &str| api::DeviceSpec {
        container_path: path.to_owned(),
        host_path: path.to_owned(),
        permissions: if fault.is("devices.permissions") { "rwx" } else { "mrw" }.to_owned(),
    };
    let mut nodes = vec![node("/dev/vfio/vfio")];
    if !fault.is("devices.group") {
        nodes.extend(groups.map(|group| node(&format!("/dev/vfio/{group}"))));
    }
    let more = [
        ("devices.paths", "dev/vfio/100"),
        ("devices.unique", "/dev/vfio/vfio"),
        ("devices.exist", "/dev/vfio/999"),
        ("devices.one-way", "/dev/iommu"),
    ];
    nodes.extend(more.iter().filter(|(name, _)| fault.is(name)).map(|(_, path)| node(path)));
    nodes
}

/// What is advised: the required ones, then the first of the others.
pub fn preferred(
    fault: &Fault,
    wish: &api::ContainerPreferredAllocationRequest,
) -> api::ContainerPreferredAllocationResponse {
    let size = usize::try_from(wish.allocation_size).unwrap_or_default();
    let required: &[String] =
        if fault.is("preferred.required") { &[] } else { wish.must_include_device_i_ds.as_slice() };
    let others = wish.available_device_i_ds.iter().filter(|id| !required.contains(id));
    let size = if fault.is("preferred.size") { size + 1 } else { size };
    let mut ids: Vec<String> = required.iter().chain(others).take(size).cloned().collect();
    if fault.is("preferred.offered")
        && ids.len() > required.len()
        && let Some(last) = ids.last_mut()
    {
        "a-card-of-my-own".clone_into(last);
    }
    api::ContainerPreferredAllocationResponse { device_i_ds: ids }
}
