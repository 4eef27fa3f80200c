//! The devices of one resource, as an immutable snapshot.

use super::Slot;
use crate::device::DeviceId;
use std::{collections::HashMap, sync::Arc};

/// All listed devices of a resource in the order of their ids, with an index.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Arc<Slot>>,
    index: HashMap<DeviceId, usize>,
}

impl Table {
    pub(crate) fn new(slots: Vec<Arc<Slot>>) -> Self {
        let index = slots.iter().enumerate().map(|(place, slot)| (slot.id(), place)).collect();
        Self { slots, index }
    }

    /// The devices in the order of their ids.
    #[must_use]
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// The device with this id.
    #[must_use]
    pub fn get(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        self.slots.get(*self.index.get(&id)?)
    }
}
