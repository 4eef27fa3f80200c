//! `Allocate` and `GetPreferredAllocation`: what a container gets, and the status of what is not granted.

use prost::Message as _;
use std::collections::HashMap;
use vfiod_core::allocator::{Grant, PreferenceError, Refusal, Resource, put_allocate_response, wire::Malformed};
use vfiod_proto::deviceplugin::AllocateResponse;

/// The variables of one container for its grant, read from the answer that the kubelet gets.
pub fn environment(resource: &Resource, grant: &Grant) -> HashMap<String, String> {
    let mut answer = Vec::new();
    put_allocate_response(&mut answer, resource, std::slice::from_ref(grant));
    let containers = AllocateResponse::decode(answer.as_slice()).unwrap_or_default().container_responses;
    containers.into_iter().flat_map(|container| container.envs).collect()
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

/// The status of a request that cannot be read.
pub(super) fn malformed(error: Malformed) -> tonic::Status {
    tonic::Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests;
