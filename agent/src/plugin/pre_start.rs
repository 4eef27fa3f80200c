//! `PreStartContainer`: the fence. Waiting belongs here: the kubelet holds up only this container, and tries again.

use super::{
    allocate,
    desk::{Desk, FenceAnswer, FenceQuery},
};
use std::time::Duration;
use tokio::{sync::oneshot, time::timeout};
use tonic::Status;
use vfiod_core::{
    allocator::{Refusal, Resource},
    device::DeviceId,
    inventory::Unreleased,
    ownership::Conflict,
};

/// The kubelet gives up after 30 s (`pkg/kubelet/cm/devicemanager/endpoint.go`, `preStartContainer`); vfiod answers before.
const PATIENCE: Duration = Duration::from_secs(28);

/// Lets a container start, or says what is in the way.
pub(super) async fn pre_start(desk: &Desk, resource: &Resource, ids: &[String]) -> Result<(), Status> {
    let mut devices: Vec<DeviceId> = Vec::with_capacity(ids.len());
    for id in ids {
        let known = resource.table().named(id.as_bytes()).map(|(_, slot)| slot.id());
        devices.push(known.ok_or_else(|| allocate::refused(&Refusal::unknown(resource.name(), id)))?);
    }
    let (answer, answered) = oneshot::channel();
    let query = FenceQuery { resource: resource.name().clone(), devices, answer };
    let stopping = || Status::unavailable("vfiod is stopping; the kubelet tries again");
    desk.fence.send(query).map_err(|_| stopping())?;
    match timeout(PATIENCE, answered).await {
        Err(_) => Err(Status::unavailable(format!(
            "the state of {} could not be read within {} s; the kubelet tries again",
            resource.name(),
            PATIENCE.as_secs()
        ))),
        Ok(Err(_)) => Err(stopping()),
        Ok(Ok(FenceAnswer::Open)) => Ok(()),
        Ok(Ok(FenceAnswer::Unusable(why))) => Err(Status::failed_precondition(why)),
        Ok(Ok(FenceAnswer::Unknown(conflict))) => Err(Status::unavailable(format!(
            "{}; the kubelet does not say which pod has it, and tries again",
            describe(&conflict)
        ))),
        Ok(Ok(FenceAnswer::Shut(conflict))) => Err(Status::unavailable(format!(
            "{} and came first; this container starts when that pod has ended",
            describe(&conflict)
        ))),
        Ok(Ok(FenceAnswer::Held(Unreleased { device, holder, .. }))) => Err(Status::unavailable(format!(
            "{device} cannot be opened yet: {holder}; the kubelet tries again (how long vfiod waits for a release: preStart.releaseWait)"
        ))),
    }
}

fn describe(conflict: &Conflict) -> String {
    let Conflict { device, other, resource, owner } = conflict;
    let holder = match owner {
        Some(owner) => format!("{owner} has {other} ({resource})"),
        None => format!("{other} ({resource}) is claimed"),
    };
    format!("{device} cannot be used: {holder} in the same IOMMU group")
}
