//! The slots of one resource: the table that was published, and what became different since.
//!
//! A host may have very many devices, so the table is their only list: what differs from it is kept beside it from the
//! judgement of a device until the next table is published.

use crate::{
    allocator::{Slot, Table},
    device::DeviceId,
};
use std::{collections::BTreeMap, iter::from_fn, sync::Arc};

/// The slots of one resource.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// What was published last.
    table: Arc<Table>,
    /// Slots that have no room in the table.
    left_out: BTreeMap<DeviceId, Arc<Slot>>,
    /// What is not published yet, in the order of the ids; no slot where a device is listed no longer.
    since: Vec<(DeviceId, Option<Arc<Slot>>)>,
}

impl Entries {
    pub(super) fn get(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        // Devices are judged in the order of their ids.
        if self.since.last().is_some_and(|(last, _)| id <= *last)
            && let Ok(at) = self.place(id)
        {
            return self.since.get(at)?.1.as_ref();
        }
        self.table.get(id).or_else(|| self.left_out.get(&id))
    }

    /// Takes a new slot of a device, or that it is listed no longer. A table must be published after that.
    pub(super) fn set(&mut self, id: DeviceId, slot: Option<Arc<Slot>>) {
        match self.place(id) {
            Ok(at) => {
                if let Some(known) = self.since.get_mut(at) {
                    known.1 = slot;
                }
            }
            Err(at) => self.since.insert(at, (id, slot)),
        }
    }

    fn place(&self, id: DeviceId) -> Result<usize, usize> {
        match self.since.last() {
            Some((last, _)) if id <= *last => self.since.binary_search_by_key(&id, |(id, _)| *id),
            _ => Err(self.since.len()),
        }
    }

    /// All slots, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let published = self.table.slots().iter().map(|slot| (slot.id(), Some(slot)));
        let left_out = self.left_out.iter().map(|(&id, slot)| (id, Some(slot)));
        let since = self.since.iter().map(|(id, slot)| (*id, slot.as_ref()));
        newer(newer(published, left_out), since).filter_map(|(_, slot)| slot)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether the table has a device.
    pub(super) fn is_published(&self, id: DeviceId) -> bool {
        self.table.get(id).is_some()
    }

    /// How many have no room in the table.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Takes note of the table that is published now. The slots that are not in it are those that have no room.
    pub(super) fn published(&mut self, table: Arc<Table>) {
        let missing = |slot: &&Arc<Slot>| table.get(slot.id()).is_none();
        self.left_out = self.iter().filter(missing).map(|slot| (slot.id(), Arc::clone(slot))).collect();
        self.since = Vec::new();
        self.table = table;
    }
}

/// Both in their order; what the second has of an id counts.
fn newer<T>(
    first: impl Iterator<Item = (DeviceId, T)>,
    second: impl Iterator<Item = (DeviceId, T)>,
) -> impl Iterator<Item = (DeviceId, T)> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    from_fn(move || {
        if let Some(&(next, _)) = second.peek() {
            if first.peek().is_some_and(|&(id, _)| id < next) {
                return first.next();
            }
            first.next_if(|&(id, _)| id == next);
            return second.next();
        }
        first.next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        allocator::Blueprint,
        device::Bdf,
        health::{Health, Reason, Verdict},
    };
    use proptest::prelude::*;

    fn id(bus: u8) -> DeviceId {
        Bdf::new(0, bus, 0, 0).unwrap().into()
    }

    fn slot(bus: u8) -> Arc<Slot> {
        let verdict = Verdict { health: Health::Healthy, reason: Reason::Ready };
        Arc::new(Slot::new(Blueprint::unknown(id(bus), Arc::default()), verdict))
    }

    proptest! {
        /// Whatever is set and published, and whatever of it has room: it is a map.
        #[test]
        fn entries_are_a_map(rounds in prop::collection::vec((prop::collection::vec((0u8..24, any::<bool>()), 0..12), 0usize..24), 1..8)) {
            let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
            for (changes, room) in rounds {
                for (bus, listed) in changes {
                    let slot = listed.then(|| slot(bus));
                    entries.set(id(bus), slot.clone());
                    match slot {
                        Some(slot) => drop(model.insert(id(bus), slot)),
                        None => drop(model.remove(&id(bus))),
                    }
                    prop_assert!(entries.iter().zip(model.values()).all(|(one, other)| Arc::ptr_eq(one, other)));
                }
                let same = |entries: &Entries| {
                    entries.iter().count() == model.len()
                        && entries.is_empty() == model.is_empty()
                        && entries.iter().zip(model.values()).all(|(one, other)| Arc::ptr_eq(one, other))
                        && (0..24).all(|bus| entries.get(id(bus)).map(Arc::as_ptr) == model.get(&id(bus)).map(Arc::as_ptr))
                };
                prop_assert!(same(&entries));
                let table = Arc::new(Table::new(entries.iter().take(room).cloned().collect()));
                entries.published(table);
                prop_assert!(same(&entries));
                prop_assert_eq!(entries.left_out(), model.len().saturating_sub(room));
                prop_assert!((0..24).all(|bus| entries.is_published(id(bus)) == model.keys().take(room).any(|&listed| listed == id(bus))));
            }
        }
    }
}
