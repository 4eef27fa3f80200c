//! From an id to its place in a table, without building a text.

use crate::device::DeviceId;

/// The places of a table's devices, by packed address or UUID: open addressing, half full at most.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Of each device in the order of the table.
    keys: Box<[u64]>,
    /// Place + 1; 0 is empty.
    places: Box<[u32]>,
    shift: u32,
}

/// Marks the key of a mediated device: it is folded from 128 bits, so two may be equal. That of a PCI function is not.
const FOLDED: u64 = 1 << 63;
/// Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4): the upper bits of the product are well mixed.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn key(id: DeviceId) -> u64 {
    match id {
        DeviceId::Pci(bdf) => bdf.packed(),
        DeviceId::Mdev(uuid) => {
            let (high, low) = uuid.as_u64_pair();
            FOLDED | (high ^ low.rotate_left(32))
        }
    }
}

impl Index {
    pub(super) fn new(ids: impl ExactSizeIterator<Item = DeviceId>) -> Self {
        let size = (ids.len() * 2).next_power_of_two().max(2);
        let mut index =
            Self { keys: ids.map(key).collect(), places: vec![0; size].into(), shift: 64 - size.trailing_zeros() };
        for (place, &key) in index.keys.iter().enumerate() {
            let mut at = (key.wrapping_mul(GOLDEN) >> index.shift) as usize;
            while let Some(entry) = index.places.get_mut(at) {
                if *entry == 0 {
                    *entry = u32::try_from(place + 1).unwrap_or_default();
                    break;
                }
                at = (at + 1) & (size - 1);
            }
        }
        index
    }

    /// The places that an id may have: for a PCI function its own, if it has one; for an mdev those of the same fold.
    #[inline]
    pub(super) fn candidates(&self, id: DeviceId) -> impl Iterator<Item = usize> {
        let key = key(id);
        let mut at = (key.wrapping_mul(GOLDEN) >> self.shift.min(63)) as usize;
        std::iter::from_fn(move || {
            loop {
                let place = self.places.get(at).copied().filter(|&place| place != 0)? as usize - 1;
                at = (at + 1) & (self.places.len() - 1);
                if self.keys.get(place) == Some(&key) {
                    return Some(place);
                }
            }
        })
    }
}
