//! The devices of one resource, as a snapshot: what is in it never changes, how the devices are does.

use super::{
    ClaimState, GroupWord, Slot,
    bits::Bits,
    index::Index,
    list::Listed,
    sync::{AtomicU64, Ordering, fence},
    usual::Usual,
};
use crate::device::{DeviceId, GroupId, former_id};
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
    /// Which slots are of a group that somebody may have claimed; of the others it is known that nobody has.
    claimed: Marks,
    /// What the kubelet is told of each, encoded.
    pub(super) listed: Listed,
    /// The places of devices that are listed under a former id, by that id.
    former: Box<[(GroupId, usize)]>,
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

/// One bit a slot.
#[derive(Debug, Default)]
pub(super) struct Marks(Box<[AtomicU64]>);

impl Table {
    /// `slots` are in the order of their ids.
    pub(crate) fn new(slots: Vec<Arc<Slot>>) -> Self {
        debug_assert!(slots.is_sorted_by_key(|slot| slot.id()));
        let table = Self {
            // A device that its owner has under a former id is nobody's under its own.
            index: Index::new(own_ids(&slots)),
            words: slots.iter().map(|slot| slot.word()).collect(),
            unhealthy: Marks::new(slots.len()),
            refused: Marks::new(slots.len()),
            claimed: Marks::new(slots.len()),
            listed: Listed::new(&slots),
            former: former_places(&slots),
            lay: Lay::of(&slots),
            slots: slots.into(),
        };
        for (place, slot) in table.slots.iter().enumerate() {
            table.mark(place, slot);
        }
        table.look_at_claims();
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

    /// The place of the device that the kubelet calls by this text, and the device.
    #[must_use]
    pub fn named(&self, text: &[u8]) -> Option<(usize, &Arc<Slot>)> {
        let place = self.place_named(text)?;
        Some((place, self.slots.get(place)?))
    }

    /// The place of the device that the kubelet calls by this text.
    #[inline]
    pub(super) fn place_named(&self, text: &[u8]) -> Option<usize> {
        match text.try_into() {
            Ok(usual) => self.place_usual(Usual::from_name(usual)),
            Err(_) => match DeviceId::from_name(text) {
                Some(id) => self.indexed(id),
                None => self.former_place(text),
            },
        }
    }

    #[cold]
    fn former_place(&self, text: &[u8]) -> Option<usize> {
        let id = former_id(text)?;
        let at = self.former.binary_search_by_key(&id, |&(former, _)| former).ok()?;
        self.former.get(at).map(|&(_, place)| place)
    }

    /// The place of a PCI function of a domain with four digits.
    #[inline]
    pub(super) fn place_usual(&self, id: Usual) -> Option<usize> {
        self.index.usual(id)
    }

    pub(super) fn place(&self, id: DeviceId) -> Option<usize> {
        let former = || self.former.iter().map(|&(_, place)| place);
        self.indexed(id).or_else(|| former().find(|&place| self.slots.get(place).is_some_and(|slot| slot.id() == id)))
    }

    /// The place of a device that is listed under its own id.
    fn indexed(&self, id: DeviceId) -> Option<usize> {
        self.index.candidates(id).find(|&place| self.slots.get(place).is_some_and(|slot| slot.id() == id))
    }

    pub(super) fn word(&self, place: usize) -> Option<&GroupWord> {
        self.words.get(place).map(Arc::as_ref)
    }

    /// Brings the marks of a slot up to its verdict. Only the reactor calls this.
    pub(super) fn mark(&self, place: usize, slot: &Slot) {
        self.unhealthy.set(place, !slot.is_healthy());
        self.refused.set(place, slot.refusal().is_some());
    }

    /// Marks a slot whose group has just been claimed.
    #[inline]
    pub(super) fn mark_claimed(&self, place: usize) {
        self.claimed.set(place, true);
    }

    /// Marks the slots of all groups that are claimed.
    pub(super) fn look_at_claims(&self) {
        for (place, word) in self.words.iter().enumerate() {
            if word.load().state() != ClaimState::Free {
                self.mark_claimed(place);
            }
        }
    }

    /// Brings the mark of a slot up to the word of its group. Only the reactor calls this, after it wrote the word.
    pub(super) fn claim_settled(&self, place: usize) {
        let is_claimed = || self.word(place).is_some_and(|word| word.load().state() != ClaimState::Free);
        if !is_claimed() {
            self.claimed.set(place, false);
            fence(Ordering::SeqCst);
        }
        // Who claims writes the word first and the mark afterwards: a mark that was taken away too early comes back.
        if is_claimed() {
            self.mark_claimed(place);
        }
    }

    /// Which slots are of a group that may be claimed, 64 a word.
    pub(super) fn claimed(&self) -> impl Iterator<Item = u64> {
        self.claimed.words()
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

/// The places of the devices that are listed under their own ids.
fn own_ids(slots: &[Arc<Slot>]) -> impl Iterator<Item = (usize, DeviceId)> {
    slots.iter().enumerate().filter(|(_, slot)| slot.former().is_none()).map(|(place, slot)| (place, slot.id()))
}

fn former_places(slots: &[Arc<Slot>]) -> Box<[(GroupId, usize)]> {
    let places = slots.iter().enumerate().filter_map(|(place, slot)| Some((slot.former()?, place)));
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    places.into()
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
            word.fetch_or(bit, Ordering::AcqRel);
        } else {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|word| word.load(Ordering::Acquire))
    }
}
