//! What one look at the sources names, and what its silence proves.

use super::{ABSENCE_PROOF, Allocation, Claim, Owner, Pod, Reading, Source};
use crate::device::{DeviceId, GroupId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// One reading, ready to be compared with the ledger.
pub(super) struct Listed<'a> {
    reading: &'a Reading,
    checkpoint: Option<Index<'a>>,
    pod_resources: Option<Index<'a>>,
}

/// All that one source names, by device.
struct Index<'a>(FxHashMap<DeviceId, SmallVec<[&'a Allocation; 1]>>);

impl<'a> Index<'a> {
    fn of(source: &'a Source<Vec<Allocation>>) -> Option<Self> {
        let allocations = source.read()?;
        let mut index: FxHashMap<DeviceId, SmallVec<[&Allocation; 1]>> = FxHashMap::default();
        index.reserve(allocations.len());
        for allocation in allocations {
            index.entry(allocation.device).or_default().push(allocation);
        }
        Some(Self(index))
    }

    /// What is named of a device under one resource: several entries where an init container handed it on.
    fn entries(&self, resource: &str, device: DeviceId) -> impl Iterator<Item = &'a Allocation> {
        let named = self.0.get(&device).into_iter().flatten().copied();
        named.filter(move |allocation| &*allocation.resource == resource)
    }

    fn owners(&self, resource: &str, device: DeviceId) -> impl Iterator<Item = &'a Owner> {
        self.entries(resource, device).map(|allocation| &allocation.owner)
    }
}

impl<'a> Listed<'a> {
    pub(super) fn of(reading: &'a Reading) -> Self {
        Self { reading, checkpoint: Index::of(&reading.checkpoint), pod_resources: Index::of(&reading.pod_resources) }
    }

    /// All pairs of resource and device that a source names, some of them twice.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'a Arc<str>, DeviceId)> + use<'a> {
        let sources = [&self.reading.checkpoint, &self.reading.pod_resources];
        let named = sources.into_iter().filter_map(Source::read).flatten();
        named.map(|allocation| (&allocation.resource, allocation.device))
    }

    /// The owner that the sources name. What was `known` of the same pod holds where they say less now.
    pub(super) fn owner(&self, resource: &str, device: DeviceId, known: Option<&Owner>) -> Option<Owner> {
        let recorded = || self.checkpoint.iter().flat_map(move |index| index.owners(resource, device));
        let listed = self.pod_resources.as_ref().and_then(|index| index.owners(resource, device).next());
        let mut owner = match listed {
            // The kubelet's memory is newer than its checkpoint, which adds the UID of the same pod.
            Some(listed) => {
                let same = |sure| recorded().find(|owner| owner.pod.same_as(&listed.pod) == sure);
                let uid = same(Some(true)).or_else(|| same(None)).and_then(|owner| owner.pod.uid.clone());
                Owner { pod: Pod { uid, ..listed.pod.clone() }, container: Arc::clone(&listed.container) }
            }
            // Left over from a finished pod: the kubelet tidies its checkpoint only at the next admission.
            None if self.proves_unlisted(resource, device) => return None,
            None => {
                let still = recorded().find(|owner| known.is_some_and(|known| owner.container == known.container));
                still.or_else(|| recorded().min_by_key(|owner| &owner.container))?.clone()
            }
        };
        if let Some(known) = known.filter(|known| known.pod.same_as(&owner.pod) == Some(true)) {
            owner.pod.uid = owner.pod.uid.or_else(|| known.pod.uid.clone());
            owner.pod.name = owner.pod.name.or_else(|| known.pod.name.clone());
        }
        Some(owner)
    }

    /// Whether a claim that no source names is free.
    pub(super) fn proves_free(&self, resource: &str, device: DeviceId, claim: &Claim) -> bool {
        let unlisted = self.proves_unlisted(resource, device);
        if claim.is_news(self.reading.begun) {
            return claim.is_confirmed() && unlisted;
        }
        let unrecorded = self.checkpoint.as_ref().is_some_and(|index| index.owners(resource, device).next().is_none());
        match claim.owner() {
            // The kubelet that was answered has admitted or refused the pod by now; its checkpoint says which.
            None => unrecorded || unlisted,
            Some(_) => self.kubelet_settled() && (unrecorded || unlisted),
        }
    }

    /// The place in the order of answers that the checkpoint keeps; 0 where it keeps none.
    pub(super) fn order(&self, resource: &str, device: DeviceId) -> u64 {
        let recorded = self.checkpoint.iter().flat_map(|index| index.entries(resource, device));
        recorded.map(|allocation| allocation.order).max().unwrap_or_default()
    }

    /// The id of another plugin by which the sources name it. Several containers of a pod have it by the same one.
    pub(super) fn former(&self, resource: &str, device: DeviceId) -> Option<GroupId> {
        let indexes = [&self.pod_resources, &self.checkpoint].into_iter().flatten();
        let mut entries = indexes.flat_map(|index| index.entries(resource, device));
        entries.find_map(|allocation| allocation.former)
    }

    /// Whether PodResources names an owner.
    pub(super) fn in_memory(&self, resource: &str, device: DeviceId) -> bool {
        self.pod_resources.as_ref().is_some_and(|index| index.owners(resource, device).next().is_some())
    }

    /// Whether PodResources does not list a device, and can be trusted in that.
    fn proves_unlisted(&self, resource: &str, device: DeviceId) -> bool {
        let unlisted = |index: &Index<'_>| index.owners(resource, device).next().is_none();
        self.kubelet_settled() && self.pod_resources.as_ref().is_some_and(unlisted)
    }

    /// Whether the kubelet knows all its pods by now.
    fn kubelet_settled(&self) -> bool {
        self.reading.kubelet_up.is_some_and(|up| up >= ABSENCE_PROOF)
    }
}
