//! What a settling changed.

use crate::{allocator::Resource, device::DeviceId, health::Verdict, ownership::Moment, permit::ResourceName};
use std::sync::Arc;

/// What became different; everything in it is worth a line in the log.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Resources that now need an endpoint.
    pub opened: Vec<Arc<Resource>>,
    /// Resources whose list or health changed; their bells have been rung.
    pub changed: Vec<Arc<Resource>>,
    /// Resources that are no longer permitted and of which nothing is in use: their endpoints end.
    pub closed: Vec<Arc<Resource>>,
    /// Devices whose verdict changed.
    pub transitions: Vec<Transition>,
    /// Resources that have more devices than a message holds.
    pub overflows: Vec<Overflow>,
    /// Every device whose facts changed, whether its verdict did or not, in the order of their ids.
    pub judged: Vec<DeviceId>,
    /// When to settle again although nothing happens.
    pub wake: Option<Moment>,
}

/// One device whose verdict changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The resource it is listed under.
    pub resource: ResourceName,
    /// The device.
    pub device: DeviceId,
    /// What was said before; `None` when it was not listed.
    pub before: Option<Verdict>,
    /// What is said now; `None` when it is no longer listed.
    pub now: Option<Verdict>,
}

/// A resource with more devices than the kubelet can receive in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// The resource.
    pub resource: ResourceName,
    /// How many devices are listed.
    pub listed: usize,
    /// How many are left out.
    pub left_out: usize,
}
