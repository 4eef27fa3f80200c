//! The devices of one resource, as an immutable snapshot.

use super::Slot;
use crate::device::DeviceId;
use std::sync::Arc;

/// All listed devices of a resource in the order of their ids.
#[derive(Debug, Default)]
pub struct Table {
    slots: Box<[Arc<Slot>]>,
}

impl Table {
    /// `slots` are in the order of their ids.
    pub(crate) fn new(slots: Vec<Arc<Slot>>) -> Self {
        debug_assert!(slots.is_sorted_by_key(|slot| slot.id()));
        Self { slots: slots.into() }
    }

    /// The devices in the order of their ids.
    #[must_use]
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// The device with this id.
    #[must_use]
    pub fn get(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        // Searched, not hashed: an index would make every change of a large list ten times as dear.
        let place = self.slots.binary_search_by_key(&id, |slot| slot.id()).ok()?;
        self.slots.get(place)
    }
}
