//! `ListAndWatch` messages, assembled from bytes that were encoded once.
//!
//! ```text
//! Listed   every device as it is when healthy, one after the other: already a whole message
//! List     a table and which of its devices are unhealthy at one moment
//! write    runs of healthy devices are copied as they lie; between them the unhealthy ones, encoded again
//! ```

use super::{Slot, Table, wire};
use std::sync::Arc;

/// Texts of health (kubelet: `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/constants.go`).
const HEALTHY: &str = "Healthy";
const UNHEALTHY: &str = "Unhealthy";

/// The devices of a table, encoded as healthy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    bytes: Box<[u8]>,
    /// Where each device ends.
    ends: Box<[u32]>,
}

impl Listed {
    pub(super) fn new(slots: &[Arc<Slot>]) -> Self {
        let mut bytes = Vec::with_capacity(slots.iter().map(|slot| slot.listed_size()).sum());
        let ends = slots.iter().map(|slot| {
            wire::put_device(&mut bytes, slot.text(), HEALTHY, slot.numa());
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        let ends = ends.collect();
        Self { bytes: bytes.into(), ends }
    }

    /// The bytes of the devices in a range of places.
    fn between(&self, from: usize, to: usize) -> &[u8] {
        let end = |place: usize| match place.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).map_or(self.bytes.len(), |&end| end as usize),
        };
        self.bytes.get(end(from)..end(to)).unwrap_or_default()
    }
}

/// The most bytes that a device takes in a message: as unhealthy.
pub(super) fn largest(id: &str, numa: Option<u32>) -> usize {
    wire::device_len(id, UNHEALTHY, numa)
}

/// What a `ListAndWatch` message says: a list at one moment.
#[derive(Debug, Clone)]
pub struct List {
    table: Arc<Table>,
    unhealthy: Box<[u64]>,
}

impl List {
    /// The list as it is now.
    pub(super) fn of(table: Arc<Table>) -> Self {
        let unhealthy = table.unhealthy().collect();
        Self { table, unhealthy }
    }

    /// Whether the kubelet would be told the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.unhealthy == other.unhealthy
            && (Arc::ptr_eq(&self.table, &other.table) || self.table.listed == other.table.listed)
    }

    /// The length of the message, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let slots = self.unhealthy_places().filter_map(|place| self.table.slots().get(place));
        let longer =
            |slot: &Arc<Slot>| largest(slot.text(), slot.numa()) - wire::device_len(slot.text(), HEALTHY, slot.numa());
        self.table.listed.bytes.len() + slots.map(longer).sum::<usize>()
    }

    /// The message, piece by piece: `put` is called with the bytes in their order.
    pub fn write(&self, mut put: impl FnMut(&[u8])) {
        let listed = &self.table.listed;
        let (mut from, mut own) = (0, Vec::with_capacity(64));
        for place in self.unhealthy_places() {
            let Some(slot) = self.table.slots().get(place) else { break };
            let healthy = listed.between(from, place);
            if !healthy.is_empty() {
                put(healthy);
            }
            own.clear();
            wire::put_device(&mut own, slot.text(), UNHEALTHY, slot.numa());
            put(&own);
            from = place + 1;
        }
        let rest = listed.between(from, self.table.slots().len());
        if !rest.is_empty() {
            put(rest);
        }
    }

    fn unhealthy_places(&self) -> impl Iterator<Item = usize> {
        self.unhealthy
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != 0)
            .flat_map(|(at, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }
}
