//! The devices of one resource, as a snapshot: what is in it never changes, how the devices are does.

use super::{
    GroupWord, Slot,
    bits::Bits,
    index::Index,
    list::Listed,
    sync::{AtomicU64, Ordering},
};
use crate::device::DeviceId;
use std::sync::Arc;

/// All listed devices of a resource in the order of their ids.
#[derive(Debug, Default)]
pub struct Table {
    slots: Box<[Arc<Slot>]>,
    index: Index,
    /// The claim word of each slot's group, so that advice need not visit every slot.
    words: Box<[Arc<GroupWord>]>,
    /// Which slots the kubelet is told to be unhealthy.
    unhealthy: Marks,
    /// Which slots `Allocate` would refuse.
    refused: Marks,
    /// What the kubelet is told of each, encoded.
    pub(super) listed: Listed,
    /// What advice must know of each.
    pub(super) lay: Lay,
}

/// How the devices lie: which never changes.
#[derive(Debug, Default)]
pub(super) struct Lay {
    /// The NUMA nodes, in order; `None` gathers the devices of which the kernel does not say where they are.
    pub(super) nodes: Box<[Option<u32>]>,
    /// The devices of each.
    pub(super) of_node: Box<[Bits]>,
    /// The devices that have no companion under any resource.
    pub(super) lone: Bits,
}

/// One bit a slot; one thread writes, any reads.
#[derive(Debug, Default)]
pub(super) struct Marks(Box<[AtomicU64]>);

impl Table {
    /// `slots` are in the order of their ids.
    pub(crate) fn new(slots: Vec<Arc<Slot>>) -> Self {
        debug_assert!(slots.is_sorted_by_key(|slot| slot.id()));
        let table = Self {
            index: Index::new(slots.iter().map(|slot| slot.id())),
            words: slots.iter().map(|slot| slot.word()).collect(),
            unhealthy: Marks::new(slots.len()),
            refused: Marks::new(slots.len()),
            listed: Listed::new(&slots),
            lay: Lay::of(&slots),
            slots: slots.into(),
        };
        for (place, slot) in table.slots.iter().enumerate() {
            table.mark(place, slot);
        }
        table
    }

    /// The devices in the order of their ids.
    #[must_use]
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// The device with this id.
    #[must_use]
    pub fn get(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        self.slots.get(self.place(id)?)
    }

    /// The device that the kubelet calls by this text.
    #[must_use]
    pub fn named(&self, text: &[u8]) -> Option<&Arc<Slot>> {
        self.slots.get(self.place_named(text)?)
    }

    /// The place of the device that the kubelet calls by this text.
    #[inline]
    pub(super) fn place_named(&self, text: &[u8]) -> Option<usize> {
        self.place(DeviceId::from_name(text)?)
    }

    #[inline]
    pub(super) fn place(&self, id: DeviceId) -> Option<usize> {
        let mut places = self.index.candidates(id);
        if !id.is_mdev() {
            return places.next();
        }
        places.find(|&place| self.slots.get(place).is_some_and(|slot| slot.id() == id))
    }

    pub(super) fn word(&self, place: usize) -> Option<&GroupWord> {
        self.words.get(place).map(Arc::as_ref)
    }

    /// Brings the marks of a slot up to its verdict. Only the reactor calls this.
    pub(super) fn mark(&self, place: usize, slot: &Slot) {
        self.unhealthy.set(place, !slot.is_healthy());
        self.refused.set(place, slot.refusal().is_some());
    }

    /// Which slots are unhealthy now, 64 a word.
    pub(super) fn unhealthy(&self) -> impl Iterator<Item = u64> {
        self.unhealthy.words()
    }

    /// Which slots `Allocate` would refuse now, 64 a word.
    pub(super) fn refused(&self) -> impl Iterator<Item = u64> {
        self.refused.words()
    }
}

impl Lay {
    fn of(slots: &[Arc<Slot>]) -> Self {
        let mut nodes: Vec<Option<u32>> = Vec::new();
        for slot in slots {
            if let Err(at) = nodes.binary_search(&slot.numa()) {
                nodes.insert(at, slot.numa());
            }
        }
        let mut of_node: Vec<Bits> = nodes.iter().map(|_| Bits::new(slots.len())).collect();
        let mut lone = Bits::new(slots.len());
        for (place, slot) in slots.iter().enumerate() {
            if let Some(bits) = nodes.binary_search(&slot.numa()).ok().and_then(|at| of_node.get_mut(at)) {
                bits.insert(place);
            }
            if slot.is_lone() {
                lone.insert(place);
            }
        }
        Self { nodes: nodes.into(), of_node: of_node.into(), lone }
    }
}

impl Marks {
    fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, place: usize, marked: bool) {
        let Some(word) = self.0.get(place / 64) else { return };
        let bit = 1 << (place % 64);
        if marked {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|word| word.load(Ordering::Acquire))
    }
}
