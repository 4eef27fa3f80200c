//! Granting devices: what `Allocate` decides.

use super::{
    Resource, Slot,
    sync::{AtomicBool, AtomicU64, Ordering, SegQueue},
};
use crate::{
    device::{DeviceId, GroupId},
    health::Verdict,
    ownership::Moment,
    permit::ResourceName,
};
use crossbeam::utils::CachePadded;
use smallvec::SmallVec;
use std::sync::Arc;

/// Where grants are noted for the reactor, in their order.
#[derive(Debug, Default)]
pub struct Register {
    answered: SegQueue<Answered>,
    order: CachePadded<AtomicU64>,
    /// Whether the reactor was woken and has not yet said that it sleeps again.
    woken: CachePadded<AtomicBool>,
}

/// A grant that was answered to the kubelet.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The resource.
    pub resource: ResourceName,
    /// The devices, as they were listed then.
    pub slots: SmallVec<[Arc<Slot>; 2]>,
    /// Those of them that were asked for by a former id, each with it.
    pub former: Vec<(DeviceId, GroupId)>,
    /// When.
    pub at: Moment,
    /// Its place in the order of answers.
    pub order: u64,
}

impl Answered {
    /// The ids of the devices.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.slots.iter().map(|slot| slot.id())
    }
}

/// The devices granted to one container, in the order asked for.
#[derive(Debug, Clone)]
pub struct Grant {
    /// One slot a device.
    pub slots: Vec<Arc<Slot>>,
    /// Its place in the order of answers. The kubelet keeps what is answered, so that an agent that starts later can
    /// learn it.
    pub order: u64,
}

/// Why nothing of a request is granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The resource has no such device.
    #[error("{resource} has no device {id:?} on this node: see `vfiod devices` for those it has")]
    Unknown {
        /// The resource.
        resource: ResourceName,
        /// The id as it was asked for, or its beginning.
        id: String,
    },
    /// The device cannot be used, and waiting does not help.
    #[error("{device} of {resource} cannot be allocated: {}{}", verdict.reason, remedy(verdict))]
    Unusable {
        /// The resource.
        resource: ResourceName,
        /// The device.
        device: DeviceId,
        /// Its verdict.
        verdict: Arc<Verdict>,
    },
}

fn remedy(verdict: &Verdict) -> String {
    verdict.reason.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default()
}

/// An unknown id is told up to this length, in characters; the longest id is a UUID. The text becomes a header of HTTP/2.
const TOLD: usize = 80;

impl Refusal {
    /// The resource has no device with this id, whatever it is.
    #[must_use]
    pub fn unknown(resource: &ResourceName, id: &str) -> Self {
        Self::Unknown { resource: resource.clone(), id: id.chars().take(TOLD).collect() }
    }
}

impl Register {
    /// Gives all further grants a later place in the order than `order`, which an agent before this one may have given.
    pub fn follow(&self, order: u64) {
        self.order.fetch_max(order, Ordering::Relaxed);
    }

    /// Whether whoever has just granted must wake the reactor. If not, the reactor looks again by itself.
    pub fn must_wake(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    /// Says that the reactor must be woken for grants from now on; those noted before are to be taken after this call.
    pub fn sleeps(&self) {
        // A swap, not a store: it sees the grants of all who did not wake because of what it replaces.
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Takes the next noted grant, oldest first.
    pub fn take(&self) -> Option<Answered> {
        self.answered.pop()
    }

    /// Grants all of `requests` (one a container) or nothing.
    ///
    /// A device that is claimed already is granted again: the kubelet is the authority on who owns it.
    ///
    /// # Errors
    /// Names the first device that is unknown, or that waiting cannot make usable.
    pub fn grant<S: AsRef<str>>(
        &self,
        resource: &Resource,
        requests: &[impl AsRef<[S]>],
        now: Moment,
    ) -> Result<Vec<Grant>, Refusal> {
        let table = resource.table();
        let mut granted: Vec<Vec<Arc<Slot>>> = Vec::with_capacity(requests.len());
        let mut places = Vec::with_capacity(8);
        for request in requests {
            let mut slots: Vec<Arc<Slot>> = Vec::with_capacity(request.as_ref().len());
            for id in request.as_ref() {
                let id = id.as_ref();
                let Some((place, slot)) = table.named(id.as_bytes()) else {
                    return Err(Refusal::unknown(resource.name(), id));
                };
                if let Some(verdict) = slot.refusal() {
                    return Err(Refusal::Unusable { resource: resource.name().clone(), device: slot.id(), verdict });
                }
                // A device named twice is one device: the virtual machine could not use it twice.
                if !slots.iter().any(|other| other.id() == slot.id()) {
                    slots.push(Arc::clone(slot));
                    places.push((place, slot.id()));
                }
            }
            granted.push(slots);
        }
        let place = |slots| Grant { slots, order: self.order.fetch_add(1, Ordering::Relaxed) + 1 };
        let grants: Vec<Grant> = granted.into_iter().map(place).collect();
        for grant in &grants {
            for slot in &grant.slots {
                slot.group_word().claim(now);
            }
            self.answered.push(Answered {
                resource: resource.name().clone(),
                slots: grant.slots.iter().cloned().collect(),
                former: grant.slots.iter().filter_map(|slot| Some((slot.id(), slot.former()?))).collect(),
                at: now,
                order: grant.order,
            });
        }
        resource.mark_claimed(&table, places.iter().copied());
        Ok(grants)
    }
}
