//! What an endpoint notes of its resource.

use super::Counter;
use arc_swap::ArcSwapOption;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use vfiod_core::{
    allocator::{Refusal, Resource},
    health::Reason,
    permit::ResourceName,
};

/// A resource that has an endpoint, and what the endpoint has done.
#[derive(Debug)]
pub struct Served {
    resource: Arc<Resource>,
    /// `Allocate` calls that were granted.
    pub allocations: Counter,
    /// Devices that they were granted.
    pub allocated_devices: Counter,
    /// `Allocate` calls that were refused, by [`Refused`].
    refusals: [Counter; Refused::ALL.len()],
    /// `GetPreferredAllocation` calls.
    pub preferred: Counter,
    /// Containers that `PreStartContainer` let start.
    pub starts: Counter,
    /// Containers that `PreStartContainer` did not let start; the kubelet tries again.
    pub start_refusals: Counter,
    /// `ListAndWatch` messages.
    pub messages: Counter,
    /// Their bytes.
    pub message_bytes: Counter,
    /// Registrations that the kubelet took.
    pub registrations: Counter,
    /// Registrations that it did not take, or made no use of.
    pub failed_registrations: Counter,
    registered: AtomicBool,
    streams: AtomicU32,
    trouble: ArcSwapOption<String>,
}

/// Why an `Allocate` was refused. A closed set: it is a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The request could not be read.
    Malformed,
    /// The resource has no such device.
    Unknown,
    /// [`Reason::Removed`].
    Removed,
    /// [`Reason::Unbound`].
    Unbound,
    /// [`Reason::HostDriver`].
    HostDriver,
    /// [`Reason::NoGroup`].
    NoGroup,
    /// [`Reason::NoIommu`].
    NoIommu,
    /// [`Reason::NotViable`].
    NotViable,
    /// [`Reason::NodeMissing`].
    NodeMissing,
    /// [`Reason::GroupInUse`].
    GroupInUse,
    /// Anything else.
    Other,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unknown,
        Self::Removed,
        Self::Unbound,
        Self::HostDriver,
        Self::NoGroup,
        Self::NoIommu,
        Self::NotViable,
        Self::NodeMissing,
        Self::GroupInUse,
        Self::Other,
    ];

    /// Its code: that of the verdict, where a verdict is the reason.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::Unknown => "Unknown",
            Self::Removed => "Removed",
            Self::Unbound => "DriverUnbound",
            Self::HostDriver => "HostDriver",
            Self::NoGroup => "NoIommuGroup",
            Self::NoIommu => "NoIommu",
            Self::NotViable => "GroupNotViable",
            Self::NodeMissing => "NodeMissing",
            Self::GroupInUse => "GroupInUse",
            Self::Other => "Other",
        }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        let Refusal::Unusable { verdict, .. } = refusal else { return Self::Unknown };
        match verdict.reason {
            Reason::Removed => Self::Removed,
            Reason::Unbound => Self::Unbound,
            Reason::HostDriver(_) => Self::HostDriver,
            Reason::NoGroup => Self::NoGroup,
            Reason::NoIommu(_) => Self::NoIommu,
            Reason::NotViable(..) => Self::NotViable,
            Reason::NodeMissing(_) => Self::NodeMissing,
            Reason::GroupInUse { .. } => Self::GroupInUse,
            _ => Self::Other,
        }
    }
}

impl Served {
    /// A resource whose endpoint starts.
    #[must_use]
    pub fn new(resource: Arc<Resource>) -> Self {
        Self {
            resource,
            allocations: Counter::default(),
            allocated_devices: Counter::default(),
            refusals: Default::default(),
            preferred: Counter::default(),
            starts: Counter::default(),
            start_refusals: Counter::default(),
            messages: Counter::default(),
            message_bytes: Counter::default(),
            registrations: Counter::default(),
            failed_registrations: Counter::default(),
            registered: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            trouble: ArcSwapOption::empty(),
        }
    }

    /// The resource.
    #[must_use]
    pub const fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ResourceName {
        self.resource.name()
    }

    /// Notes a refusal.
    pub fn refused(&self, why: Refused) {
        if let Some(counter) = self.refusals.get(why as usize) {
            counter.one();
        }
    }

    /// How many were refused for each reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refused, u64)> + '_ {
        Refused::ALL.into_iter().zip(self.refusals.iter().map(Counter::get))
    }

    /// Notes whether the kubelet has taken a registration that still holds.
    pub fn is_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Relaxed);
        if registered {
            self.registrations.one();
            self.trouble.store(None);
        }
    }

    /// Notes why there is no registration.
    pub fn in_trouble(&self, why: &str) {
        self.failed_registrations.one();
        self.trouble.store(Some(Arc::new(why.to_owned())));
    }

    /// Whether a registration holds.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// Why there is no registration, where that is known.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// Notes that a `ListAndWatch` stream has opened.
    pub fn stream_opens(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that it has ended.
    pub fn stream_ends(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many `ListAndWatch` streams are open.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_place() {
        for (place, refused) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(refused as usize, place, "{}", refused.code());
        }
    }
}
