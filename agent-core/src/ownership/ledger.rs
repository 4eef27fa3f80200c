//! The ledger of claims: what was answered to the kubelet, and what the kubelet says came of it.

use super::{Moment, Owner, Reading, listed::Listed};
use crate::device::{DeviceId, GroupId};
use rustc_hash::FxHashMap;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// A read that lacks a pending claim proves it free only when it began this long after the answer: the kubelet writes
/// its checkpoint after it has admitted the whole pod.
pub const PENDING_GRACE: Duration = Duration::from_secs(10);

/// Absence proves the release of an owned device only from a kubelet that has been up this long: a restarting kubelet
/// lists no pods until its sources are ready.
pub const ABSENCE_PROOF: Duration = Duration::from_secs(60);

/// The claim of one device under one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// When it was answered to the kubelet; for a claim that this agent never answered, when it was first seen.
    pub since: Moment,
    /// Its place in the order of answers: the younger of two has the larger number. 0 where nobody knows it.
    pub order: u64,
    /// Whether this agent answered it. If not, it is older than the agent, or another plugin's.
    pub answered: bool,
    /// The id by which the kubelet has it, where another plugin gave it under one of its own
    /// ([`takeover`](crate::ownership::takeover)).
    pub former: Option<GroupId>,
    /// Behind a pointer: most claims of a large host have none, or one that fills this many words.
    owner: Option<Arc<Owner>>,
    /// Whether PodResources, which is the kubelet's memory, has named the owner since the answer.
    confirmed: bool,
}

impl Claim {
    /// A claim just answered to the kubelet.
    #[must_use]
    pub const fn pending(since: Moment, order: u64) -> Self {
        Self { since, order, answered: true, former: None, owner: None, confirmed: false }
    }

    /// A claim that this agent never answered, and whose owner a source has named.
    #[must_use]
    pub fn found(since: Moment, order: u64, owner: Owner) -> Self {
        Self { since, order, answered: false, former: None, owner: Some(Arc::new(owner)), confirmed: false }
    }

    /// The owner, once a source has named it.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_deref()
    }

    /// Whether a look that began at `begun` and lacks the claim may not know of it yet.
    pub(super) fn is_news(&self, begun: Moment) -> bool {
        // Only what this agent answered has an answer to count from.
        self.answered && begun < self.since + PENDING_GRACE
    }

    /// Whether PodResources has named its owner since the answer.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

/// What a grant has changed of the claims on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Nobody had claimed it.
    First,
    /// It was claimed under the same resource and no other, and no source has named a pod since: it only is younger now.
    Again,
    /// Anything else.
    Changed,
}

/// All claims on this node, those of other plugins' resources included as far as their ids are BDFs or UUIDs.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    claims: FxHashMap<DeviceId, Vec<(Arc<str>, Claim)>>,
    pending: usize,
}

impl Ledger {
    /// Notes that `device` was answered to the kubelet. Replaces an older claim: the kubelet sends ids again when an
    /// init container hands over to the next, and when it gives a finished pod's device to a new one.
    pub fn answered(&mut self, resource: &Arc<str>, device: DeviceId, at: Moment, order: u64) -> Noted {
        let claim = Claim::pending(at, order);
        let claims = self.claims.entry(device).or_insert_with(|| Vec::with_capacity(1));
        let others = claims.len();
        let noted = match claims.iter_mut().find(|(name, _)| name == resource) {
            // Two answers at the same moment may be noted in either order.
            Some((_, old)) if old.answered && old.order > order => return Noted::Changed,
            Some((_, old)) => {
                let unnamed = old.answered && old.owner.is_none() && old.former.is_none();
                self.pending -= usize::from(old.owner.is_none());
                *old = claim;
                if unnamed && others == 1 { Noted::Again } else { Noted::Changed }
            }
            None => {
                claims.push((Arc::clone(resource), claim));
                if others == 0 { Noted::First } else { Noted::Changed }
            }
        };
        self.pending += 1;
        noted
    }

    /// Notes that the kubelet asked for `device` by the id of another plugin.
    pub fn answered_by(&mut self, resource: &Arc<str>, device: DeviceId, former: GroupId) {
        let claims = self.claims.get_mut(&device).into_iter().flatten();
        for (_, claim) in claims.filter(|(name, _)| name == resource) {
            claim.former = Some(former);
        }
    }

    /// Folds one look at the sources; returns the devices whose claim changed.
    pub fn observe(&mut self, reading: &Reading) -> BTreeSet<DeviceId> {
        let listed = Listed::of(reading);
        let mut changed = BTreeSet::new();
        for (&device, claims) in &mut self.claims {
            claims.retain_mut(|(resource, claim)| {
                // A look that began before the answer says nothing of what came of it.
                if reading.begun < claim.since {
                    return true;
                }
                if let Some(owner) = listed.owner(resource, device, claim.owner()) {
                    claim.confirmed |= listed.in_memory(resource, device);
                    let former = listed.former(resource, device);
                    if claim.former != former {
                        claim.former = former;
                        changed.insert(device);
                    }
                    if !claim.answered {
                        claim.order = claim.order.max(listed.order(resource, device));
                    }
                    if claim.owner() != Some(&owner) {
                        claim.owner = Some(Arc::new(owner));
                        changed.insert(device);
                    }
                    return true;
                }
                let free = listed.proves_free(resource, device, claim);
                if free {
                    changed.insert(device);
                }
                !free
            });
        }
        self.claims.retain(|_, claims| !claims.is_empty());
        if self.claims.len() < self.claims.capacity() / 8 {
            self.claims.shrink_to_fit();
        }
        for (resource, device) in listed.named() {
            if self.claim(resource, device).is_none()
                && let Some(owner) = listed.owner(resource, device, None)
            {
                let former = listed.former(resource, device);
                let claim = Claim { former, ..Claim::found(reading.begun, listed.order(resource, device), owner) };
                self.claims.entry(device).or_insert_with(|| Vec::with_capacity(1)).push((Arc::clone(resource), claim));
                changed.insert(device);
            }
        }
        self.pending = self.claims.values().flatten().filter(|(_, claim)| claim.owner.is_none()).count();
        changed
    }

    /// The claim on `device` under `resource`.
    #[must_use]
    pub fn claim(&self, resource: &str, device: DeviceId) -> Option<&Claim> {
        self.of(device).find_map(|(name, claim)| (name == resource).then_some(claim))
    }

    /// The id of another plugin under which `device` is to be listed: the one by which its owner has it. Of two devices
    /// that one resource would list under the same id, the first has it.
    #[must_use]
    pub fn former(&self, resource: &str, device: DeviceId) -> Option<GroupId> {
        let former = self.claim(resource, device)?.former?;
        let same = |claims: &Vec<(Arc<str>, Claim)>| {
            claims.iter().any(|(name, claim)| name.as_ref() == resource && claim.former == Some(former))
        };
        let is_taken = self.claims.iter().any(|(&other, claims)| other < device && same(claims));
        (!is_taken).then_some(former)
    }

    /// All claims on `device`, with the resource each was made under.
    pub fn of(&self, device: DeviceId) -> impl Iterator<Item = (&str, &Claim)> {
        self.claims.get(&device).into_iter().flatten().map(|(resource, claim)| (resource.as_ref(), claim))
    }

    /// The resource under which `device` is claimed: the first of several; none where it is not.
    #[must_use]
    pub fn claimed_as(&self, device: DeviceId) -> Option<&Arc<str>> {
        self.claims.get(&device)?.first().map(|(resource, _)| resource)
    }

    /// All claimed devices under `resource`.
    pub fn claimed_under<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = DeviceId> + 'a {
        self.claims
            .iter()
            .filter(move |(_, claims)| claims.iter().any(|(name, _)| name.as_ref() == resource))
            .map(|(&device, _)| device)
    }

    /// The largest place in the order of answers that any claim has: those of agents before this one included.
    #[must_use]
    pub fn youngest(&self) -> u64 {
        self.claims.values().flatten().map(|(_, claim)| claim.order).max().unwrap_or_default()
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
}
