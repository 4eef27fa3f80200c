//! The ledger of claims: what was answered to the kubelet, and what the kubelet says came of it.

use super::{Moment, Owner, Reading, reading::Allocation};
use crate::device::DeviceId;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// A read that lacks a pending claim proves it free only when it began this long after the answer: the kubelet writes
/// its checkpoint after it has admitted the whole pod.
pub const PENDING_GRACE: Duration = Duration::from_secs(10);

/// Absence proves the release of an owned device only from a kubelet that has been up this long: a restarting kubelet
/// lists no pods until its sources are ready.
pub const ABSENCE_PROOF: Duration = Duration::from_secs(60);

/// A resource name and a device: what the kubelet gives out.
pub(super) type Key = (Arc<str>, DeviceId);

/// The claim of one device under one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// When it was answered to the kubelet; the agent's start for claims that were there before it.
    pub since: Moment,
    /// Its place in the order of all claims: the younger of two has the larger number. 0: older than the agent.
    pub order: u64,
    owner: Option<Owner>,
}

impl Claim {
    /// A claim just answered to the kubelet.
    #[must_use]
    pub const fn pending(since: Moment, order: u64) -> Self {
        Self { since, order, owner: None }
    }

    /// A claim whose owner a source has named.
    #[must_use]
    pub const fn owned(since: Moment, order: u64, owner: Owner) -> Self {
        Self { since, order, owner: Some(owner) }
    }

    /// The owner, once a source has named it.
    #[must_use]
    pub const fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

/// All claims on this node, those of other plugins' resources included as far as their ids are BDFs or UUIDs.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    claims: HashMap<DeviceId, Vec<(Arc<str>, Claim)>>,
    pending: usize,
}

impl Ledger {
    /// Notes that `device` was answered to the kubelet. Replaces an older claim: the kubelet sends ids again when an
    /// init container hands over to the next, and when it gives a finished pod's device to a new one.
    pub fn answered(&mut self, resource: &Arc<str>, device: DeviceId, at: Moment, order: u64) {
        self.set(resource, device, Claim::pending(at, order));
    }

    /// Folds one look at the sources; returns the devices whose claim changed.
    pub fn observe(&mut self, reading: &Reading) -> BTreeSet<DeviceId> {
        let mut listed = Listed::of(reading);
        let mut changed = BTreeSet::new();
        for (&device, claims) in &mut self.claims {
            claims.retain_mut(|(resource, claim)| {
                let key = (Arc::clone(resource), device);
                match listed.take(&key, claim) {
                    Some(owner) => {
                        if claim.owner.as_ref() != Some(&owner) {
                            claim.owner = Some(owner);
                            changed.insert(device);
                        }
                        true
                    }
                    None => {
                        let free = listed.proves_free(&key, claim);
                        if free {
                            changed.insert(device);
                        }
                        !free
                    }
                }
            });
        }
        self.claims.retain(|_, claims| !claims.is_empty());
        for (resource, device, owner) in listed.into_rest() {
            // Never answered by this agent: there before it, or another plugin's.
            let since = if reading.begun.is_zero() { Duration::ZERO } else { reading.begun };
            self.claims.entry(device).or_default().push((resource, Claim::owned(since, 0, owner)));
            changed.insert(device);
        }
        self.pending = self.claims.values().flatten().filter(|(_, claim)| claim.owner.is_none()).count();
        changed
    }

    /// The claim on `device` under `resource`.
    #[must_use]
    pub fn claim(&self, resource: &str, device: DeviceId) -> Option<&Claim> {
        self.of(device).find_map(|(name, claim)| (name == resource).then_some(claim))
    }

    /// All claims on `device`, with the resource each was made under.
    pub fn of(&self, device: DeviceId) -> impl Iterator<Item = (&str, &Claim)> {
        self.claims.get(&device).into_iter().flatten().map(|(resource, claim)| (resource.as_ref(), claim))
    }

    /// All claimed devices under `resource`.
    pub fn claimed_under<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = DeviceId> + 'a {
        self.claims
            .iter()
            .filter(move |(_, claims)| claims.iter().any(|(name, _)| name.as_ref() == resource))
            .map(|(&device, _)| device)
    }

    /// Whether a claim waits for a source to name its pod.
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    fn set(&mut self, resource: &Arc<str>, device: DeviceId, claim: Claim) {
        let claims = self.claims.entry(device).or_default();
        self.pending += 1;
        match claims.iter_mut().find(|(name, _)| name == resource) {
            Some((_, old)) => {
                self.pending -= usize::from(old.owner.is_none());
                *old = claim;
            }
            None => claims.push((Arc::clone(resource), claim)),
        }
    }
}

/// What one reading lists, ready to be compared with the ledger.
struct Listed<'a> {
    reading: &'a Reading,
    checkpoint: Option<HashMap<Key, Owner>>,
    pod_resources: Option<HashMap<Key, Owner>>,
    taken: BTreeSet<Key>,
}

impl<'a> Listed<'a> {
    fn of(reading: &'a Reading) -> Self {
        let index = |allocations: &Vec<Allocation>| {
            allocations.iter().map(|a| ((Arc::clone(&a.resource), a.device), a.owner.clone())).collect()
        };
        Self {
            reading,
            checkpoint: reading.checkpoint.read().map(index),
            pod_resources: reading.pod_resources.read().map(index),
            taken: BTreeSet::new(),
        }
    }

    /// Whether PodResources can be trusted when it does not list something.
    fn kubelet_settled(&self) -> bool {
        self.reading.kubelet_up.is_some_and(|up| up >= ABSENCE_PROOF)
    }

    /// Whether the checkpoint still shows a device whose pod PodResources no longer lists: the pod is finished, and the
    /// kubelet tidies its checkpoint only at the next admission.
    fn is_left_over(&self, key: &Key) -> bool {
        self.kubelet_settled() && self.pod_resources.as_ref().is_some_and(|listed| !listed.contains_key(key))
    }

    /// The owner that the sources name for `key`.
    fn owner(&self, key: &Key) -> Option<Owner> {
        let names = self.pod_resources.as_ref().and_then(|listed| listed.get(key));
        let uids = self.checkpoint.as_ref().and_then(|listed| listed.get(key));
        match (uids, names) {
            (Some(by_uid), Some(by_name)) => {
                let mut owner = by_uid.clone();
                if owner.pod.name.is_none() {
                    owner.pod.name.clone_from(&by_name.pod.name);
                }
                Some(owner)
            }
            (Some(owner), None) => Some(owner.clone()),
            (None, Some(owner)) => Some(owner.clone()),
            (None, None) => None,
        }
    }

    fn take(&mut self, key: &Key, claim: &Claim) -> Option<Owner> {
        let owner = self.owner(key)?;
        self.taken.insert(key.clone());
        let old_enough = self.reading.begun >= claim.since + PENDING_GRACE;
        if old_enough && self.is_left_over(key) { None } else { Some(owner) }
    }

    fn proves_free(&self, key: &Key, claim: &Claim) -> bool {
        // A claim older than the agent has no answer to count from.
        if claim.order > 0 && self.reading.begun < claim.since + PENDING_GRACE {
            return false;
        }
        let lacks =
            |source: &Option<HashMap<Key, Owner>>| source.as_ref().is_some_and(|listed| !listed.contains_key(key));
        if claim.owner.is_none() {
            // The kubelet that was answered has admitted or refused the pod by now; its checkpoint says which.
            return lacks(&self.checkpoint) || (self.kubelet_settled() && lacks(&self.pod_resources));
        }
        self.kubelet_settled() && (lacks(&self.checkpoint) || lacks(&self.pod_resources))
    }

    /// What is listed and was not taken: claims that the ledger does not know yet.
    fn into_rest(self) -> Vec<(Arc<str>, DeviceId, Owner)> {
        let mut keys: BTreeSet<Key> = BTreeSet::new();
        for source in [&self.checkpoint, &self.pod_resources].into_iter().flatten() {
            keys.extend(source.keys().filter(|key| !self.taken.contains(*key) && !self.is_left_over(key)).cloned());
        }
        keys.into_iter().filter_map(|key| self.owner(&key).map(|owner| (key.0, key.1, owner))).collect()
    }
}
