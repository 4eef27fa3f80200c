//! `Allocate` and `GetPreferredAllocation`: grants as the container's environment and device nodes.

use std::collections::HashMap;
use vfiod_core::{
    allocator::{Grant, PreferenceError, Refusal, Resource, Slot},
    ownership::note,
};
use vfiod_proto::deviceplugin::{ContainerAllocateResponse, DeviceSpec};

/// The container node, needed with every group.
const CONTAINER: &str = "/dev/vfio/vfio";

/// What one container gets for its grant.
pub(super) fn response(resource: &Resource, grant: &Grant) -> ContainerAllocateResponse {
    let variables = resource.variables();
    let mut response = ContainerAllocateResponse::default();
    response.annotations.extend([note(resource.name().as_str(), grant.order)]);
    for (names, mdev) in [(&variables.pci, false), (&variables.mdev, true)] {
        let of_kind = grant.slots.iter().filter(|slot| slot.id().is_mdev() == mdev);
        let value = of_kind.map(|slot| slot.text()).collect::<Vec<_>>().join(",");
        if !value.is_empty() {
            response.envs.extend(names.iter().map(|name| (name.clone(), value.clone())));
        }
    }
    if !grant.slots.is_empty() {
        response.devices.push(node(CONTAINER));
    }
    for path in grant.slots.iter().flat_map(|slot| Slot::nodes(slot)) {
        if !response.devices.iter().any(|spec| spec.host_path == **path) {
            response.devices.push(node(path));
        }
    }
    response
}

/// The variables of one container for its grant.
pub fn environment(resource: &Resource, grant: &Grant) -> HashMap<String, String> {
    response(resource, grant).envs
}

/// A device node: the same path inside and outside, read, written and made (as KubeVirt does:
/// `pkg/virt-handler/device-manager/common.go`, `formatVFIODeviceSpecs`).
fn node(path: &str) -> DeviceSpec {
    DeviceSpec { container_path: path.to_owned(), host_path: path.to_owned(), permissions: "mrw".to_owned() }
}

/// The status of a refusal.
pub(super) fn refused(refusal: &Refusal) -> tonic::Status {
    match refusal {
        Refusal::Unknown { .. } => tonic::Status::not_found(refusal.to_string()),
        Refusal::Unusable { .. } => tonic::Status::failed_precondition(refusal.to_string()),
    }
}

/// The status of a wish that contradicts itself.
pub(super) fn not_preferred(error: &PreferenceError) -> tonic::Status {
    tonic::Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests;
