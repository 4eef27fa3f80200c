//! What the inventory shows to people and scripts.

use super::Inventory;
use crate::{allocator::Slot, device::DeviceId, ownership::Claim, permit::ResourceName};
use std::sync::Arc;

/// One listed device with its claim.
#[derive(Debug)]
pub struct View<'a> {
    /// The resource it is listed under.
    pub resource: &'a ResourceName,
    /// The device.
    pub slot: &'a Arc<Slot>,
    /// Its claim under that resource.
    pub claim: Option<&'a Claim>,
}

impl Inventory {
    /// All listed devices, by resource and id.
    pub fn listed(&self) -> impl Iterator<Item = View<'_>> {
        let ledger = self.ledger();
        self.listings.iter().flat_map(move |(resource, listing)| {
            listing.slots().map(move |slot| View { resource, slot, claim: ledger.claim(resource.as_str(), slot.id()) })
        })
    }

    /// A device under every resource that lists it.
    pub fn listed_as(&self, device: DeviceId) -> impl Iterator<Item = View<'_>> {
        self.listing(device, self.target(device)).into_iter().filter_map(move |name| {
            let (resource, listing) = self.listings.get_key_value(name)?;
            let claim = self.ledger.claim(resource.as_str(), device);
            Some(View { resource, slot: listing.slot(device)?, claim })
        })
    }

    /// A listed device.
    #[must_use]
    pub fn slot(&self, resource: &ResourceName, device: DeviceId) -> Option<&Arc<Slot>> {
        self.listings.get(resource)?.slot(device)
    }
}
