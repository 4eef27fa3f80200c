//! Grants: most devices are alone in their group, open to nobody and ready, and all that a grant changes of such a device is that
//! it is claimed. That needs no judgement, and a crowd of grants must not cost the processor that answers them.

use super::{Inventory, Transition};
use crate::{
    allocator::{Answered, ClaimState, Resource, Slot},
    device::DeviceId,
    health::{Health, Reason, Verdict},
    holding::Object,
    ownership::Noted,
    permit::ResourceName,
};
use std::sync::Arc;

/// A device of which nothing has changed but that it was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    resource: ResourceName,
    slot: Arc<Slot>,
}

impl Inventory {
    /// Takes a grant that was answered to the kubelet.
    pub fn answered(&mut self, answered: &Answered) {
        let name = answered.resource.shared();
        for slot in &answered.slots {
            let noted = self.ledger.answered(name, slot.id(), answered.at, answered.order);
            if noted == Noted::Changed || !answered.former.is_empty() || !self.concerns_nobody_else(slot) {
                self.mark_with_group(slot.id());
            } else if noted == Noted::First {
                self.claimed.push(Claimed { resource: answered.resource.clone(), slot: Arc::clone(slot) });
            }
        }
        for &(device, former) in &answered.former {
            self.ledger.answered_by(name, device, former);
        }
    }

    /// Whether no other device and no process has to do with the claim on a device: it is the only member of its group, and
    /// nobody has either open.
    fn concerns_nobody_else(&self, slot: &Slot) -> bool {
        let Some(group) = slot.group() else { return false };
        let holdings = &self.seen.holdings;
        let is_open = |object| holdings.get(object).is_some();
        (holdings.is_empty() || !(is_open(Object::Device(slot.id())) || is_open(Object::Group(group))))
            && self.host.group(group).is_some_and(|group| group.members.len() == 1)
    }

    /// Settles the devices of which nothing has changed but that they were claimed; those of which something else has are added to
    /// `dirty`, which is in order. Returns the others, in order too.
    pub(super) fn settle_claimed(
        &mut self,
        dirty: &mut Vec<DeviceId>,
        transitions: &mut Vec<Transition>,
    ) -> Vec<DeviceId> {
        let mut settled = Vec::with_capacity(self.claimed.len());
        let known = dirty.len();
        for Claimed { resource, slot } in std::mem::take(&mut self.claimed) {
            let id = slot.id();
            if dirty.get(..known).is_some_and(|known| known.binary_search(&id).is_ok()) {
                continue; // it is judged, and with it the claim
            }
            let listing = self.listings.get(&resource);
            let news = listing.filter(|listing| lists(&listing.resource, &slot)).and_then(|_| slot.claimed());
            match news {
                None => dirty.push(id),
                Some(news) => {
                    settled.push(id);
                    if news {
                        let healthy = |reason| Some(Verdict { health: Health::Healthy, reason });
                        let (before, now) = (healthy(Reason::Ready), healthy(Reason::Claimed));
                        transitions.push(Transition { resource, device: id, before, now });
                    }
                }
            }
        }
        if dirty.len() > known {
            dirty.sort();
            dirty.dedup();
        }
        settled.sort_unstable();
        settled
    }
}

/// Whether a slot is the one that a resource lists now. Its group's word says of the claim what the grant has written.
fn lists(resource: &Resource, slot: &Arc<Slot>) -> bool {
    slot.group_word().load().state() == ClaimState::Pending
        && resource.table().get(slot.id()).is_some_and(|listed| Arc::ptr_eq(listed, slot))
}

/// Two lists of devices in order, of which no device is in both, as one.
pub(super) fn merged(mut one: Vec<DeviceId>, mut other: Vec<DeviceId>) -> Vec<DeviceId> {
    if one.is_empty() {
        return other;
    }
    if !other.is_empty() {
        one.append(&mut other);
        one.sort(); // of runs in order, which a stable sort only has to merge
    }
    one
}
