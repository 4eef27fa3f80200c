//! `ListAndWatch` messages, assembled from bytes that were encoded once.
//!
//! ```text
//! Listed   every device as it is when healthy, one after the other: already a whole message
//! List     a table and which of its devices are unhealthy at one moment
//! pieces   runs of healthy devices as they lie; between them the unhealthy ones, encoded again
//! ```

use super::{Slot, Table, wire};
use std::{ops::Range, sync::Arc};

/// Texts of health (kubelet: `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/constants.go`).
const HEALTHY: &str = "Healthy";
const UNHEALTHY: &str = "Unhealthy";

/// The devices of a table, encoded as healthy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    bytes: Arc<[u8]>,
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

    /// Where the bytes of the devices in a range of places are.
    fn between(&self, from: usize, to: usize) -> Range<usize> {
        let end = |place: usize| match place.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).map_or(self.bytes.len(), |&end| end as usize),
        };
        end(from)..end(to)
    }
}

impl Default for Listed {
    fn default() -> Self {
        Self::new(&[])
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of [`List::prepared`].
    Prepared(Range<usize>),
    /// Bytes of its own.
    Own(&'a [u8]),
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

    /// How many devices are unhealthy.
    #[must_use]
    pub fn unhealthy(&self) -> usize {
        self.unhealthy.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The length of the message, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let slots = self.unhealthy_places().filter_map(|place| self.table.slots().get(place));
        let longer =
            |slot: &Arc<Slot>| largest(slot.text(), slot.numa()) - wire::device_len(slot.text(), HEALTHY, slot.numa());
        self.table.listed.bytes.len() + slots.map(longer).sum::<usize>()
    }

    /// The devices as they are when healthy, encoded: most of the message lies here.
    #[must_use]
    pub fn prepared(&self) -> &Arc<[u8]> {
        &self.table.listed.bytes
    }

    /// The message: `put` is called with its parts in their order.
    pub fn pieces(&self, mut put: impl FnMut(Piece<'_>)) {
        let listed = &self.table.listed;
        let mut own = Vec::with_capacity(64);
        let mut from = 0;
        for place in self.unhealthy_places() {
            let Some(slot) = self.table.slots().get(place) else { break };
            let healthy = listed.between(from, place);
            if !healthy.is_empty() {
                put(Piece::Prepared(healthy));
            }
            own.clear();
            wire::put_device(&mut own, slot.text(), UNHEALTHY, slot.numa());
            put(Piece::Own(&own));
            from = place + 1;
        }
        let rest = listed.between(from, self.table.slots().len());
        if !rest.is_empty() {
            put(Piece::Prepared(rest));
        }
    }

    /// The message in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.encoded_len());
        self.pieces(|piece| match piece {
            Piece::Prepared(range) => message.extend_from_slice(self.prepared().get(range).unwrap_or_default()),
            Piece::Own(own) => message.extend_from_slice(own),
        });
        message
    }

    fn unhealthy_places(&self) -> impl Iterator<Item = usize> {
        self.unhealthy
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != 0)
            .flat_map(|(at, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }
}
