//! From an id to its place in a table, without building a text.

use super::usual::{Usual, UsualIndex};
use crate::device::{Bdf, DeviceId};

/// The places of a table's devices.
#[derive(Debug)]
pub(super) struct Index {
    /// PCI functions of domains with four digits, by their text as it comes.
    usual: UsualIndex,
    /// Mediated devices, and PCI functions of other domains.
    others: Others,
}

/// `tag << 32 | place + 1`; 0 is empty. Open addressing, half full at most. Tags are folded from more bits, so equal ones
/// may belong to different ids.
#[derive(Debug)]
struct Others {
    entries: Box<[u64]>,
    shift: u32,
}

/// Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4): the upper bits of the product are well mixed.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// How an id is looked for.
enum Key {
    Usual(Usual),
    Other(u32),
}

fn key(id: DeviceId) -> Key {
    let folded = |bits: u64| Key::Other((bits.wrapping_mul(GOLDEN) >> 32) as u32);
    match id {
        DeviceId::Pci(bdf) => {
            usual_name(bdf).map_or_else(|| folded(bdf.packed()), |name| Key::Usual(Usual::from_name(&name)))
        }
        DeviceId::Mdev(uuid) => {
            let (high, low) = uuid.as_u64_pair();
            folded(high ^ low.rotate_left(32))
        }
    }
}

/// The text of an address with a domain of four digits.
fn usual_name(bdf: Bdf) -> Option<[u8; 12]> {
    let [d, e] = u16::try_from(bdf.domain()).ok()?.to_be_bytes();
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' - 10 + value };
    let ([d0, d1], [d2, d3]) = ([d >> 4, d & 15].map(digit), [e >> 4, e & 15].map(digit));
    let [b0, b1] = [bdf.bus() >> 4, bdf.bus() & 15].map(digit);
    let [s0, s1] = [bdf.device() >> 4, bdf.device() & 15].map(digit);
    Some([d0, d1, d2, d3, b':', b0, b1, b':', s0, s1, b'.', digit(bdf.function())])
}

impl Index {
    pub(super) fn new(ids: impl Iterator<Item = (usize, DeviceId)>) -> Self {
        let (mut usual, mut others) = (Vec::new(), Vec::new());
        for (place, id) in ids {
            match key(id) {
                Key::Usual(id) => usual.push((id, place)),
                Key::Other(tag) => others.push((tag, place)),
            }
        }
        Self { usual: UsualIndex::new(&usual), others: Others::new(&others) }
    }

    /// The places that an id may have: its own, if it has one, and perhaps some of others.
    pub(super) fn candidates(&self, id: DeviceId) -> impl Iterator<Item = usize> {
        let (usual, tag) = match key(id) {
            Key::Usual(id) => (self.usual.find(id), None),
            Key::Other(tag) => (None, Some(tag)),
        };
        usual.into_iter().chain(tag.into_iter().flat_map(|tag| self.others.with(tag)))
    }

    /// The place of a PCI function of a domain with four digits.
    #[inline]
    pub(super) fn usual(&self, id: Usual) -> Option<usize> {
        self.usual.find(id)
    }
}

impl Others {
    fn new(tags: &[(u32, usize)]) -> Self {
        let size = (tags.len() * 2).next_power_of_two().max(2);
        let mut others = Self { entries: vec![0; size].into(), shift: 64 - size.trailing_zeros() };
        for &(tag, place) in tags {
            let mut at = others.start(tag);
            while let Some(entry) = others.entries.get_mut(at) {
                if *entry == 0 {
                    *entry = u64::from(tag) << 32 | (place as u64 + 1);
                    break;
                }
                at = (at + 1) & (size - 1);
            }
        }
        others
    }

    fn start(&self, tag: u32) -> usize {
        (u64::from(tag).wrapping_mul(GOLDEN) >> (self.shift & 63)) as usize
    }

    /// The places of all with a tag.
    fn with(&self, tag: u32) -> impl Iterator<Item = usize> + use<'_> {
        let mut at = self.start(tag);
        std::iter::from_fn(move || {
            loop {
                let entry = self.entries.get(at).copied().filter(|&entry| entry != 0)?;
                at = (at + 1) & (self.entries.len() - 1);
                if (entry >> 32) as u32 == tag {
                    return Some((entry as u32) as usize - 1);
                }
            }
        })
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    fn ids() -> impl Strategy<Value = DeviceId> {
        prop_oneof![
            8 => (0u32..3, 0u8..4, 0u8..32, 0u8..8)
                .prop_map(|(domain, bus, device, function)| Bdf::new(domain, bus, device, function).unwrap().into()),
            1 => any::<(u32, u8)>().prop_map(|(domain, bus)| Bdf::new(domain, bus, 0, 0).unwrap().into()),
            1 => any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).into()),
        ]
    }

    proptest! {
        #[test]
        fn every_id_is_found_at_its_place_and_no_other_is(
            listed in prop::collection::btree_set(ids(), 0..200),
            asked in prop::collection::vec(ids(), 0..100),
        ) {
            let listed: Vec<DeviceId> = listed.into_iter().collect();
            let places: HashMap<DeviceId, usize> = listed.iter().copied().zip(0..).collect();
            let index = Index::new(listed.iter().copied().enumerate());
            for id in asked.iter().chain(&listed) {
                let found: BTreeSet<usize> =
                    index.candidates(*id).filter(|&place| listed[place] == *id).collect();
                prop_assert_eq!(found, places.get(id).copied().into_iter().collect());
            }
        }

        #[test]
        fn a_usual_id_is_found_in_a_field_whatever_follows_it(
            listed in prop::collection::btree_set((0u32..0x1_0000, 0u8..=255, 0u8..32, 0u8..8), 1..100),
            next: [u8; 2],
            wrong in (2usize..14, any::<u8>()),
        ) {
            let listed: Vec<Bdf> =
                listed.into_iter().map(|(domain, bus, device, function)| Bdf::new(domain, bus, device, function).unwrap()).collect();
            let index = Index::new(listed.iter().map(|&bdf| bdf.into()).enumerate());
            for (place, bdf) in listed.iter().enumerate() {
                let mut field = [0; 16];
                field[..2].copy_from_slice(&[0x0a, 12]);
                field[2..14].copy_from_slice(bdf.to_string().as_bytes());
                field[14..].copy_from_slice(&next);
                prop_assert_eq!(Usual::from_field(&field).and_then(|id| index.usual(id)), Some(place));
                field[wrong.0] = wrong.1;
                let text = std::str::from_utf8(&field[2..14]).unwrap_or_default();
                let other = listed.iter().position(|bdf| bdf.to_string() == text);
                prop_assert_eq!(Usual::from_field(&field).and_then(|id| index.usual(id)), other);
            }
        }
    }

    #[test]
    fn only_a_field_of_the_right_kind_and_length_is_taken() {
        let mut field = *b"\x0a\x0c0000:3b:00.0\xff\xff";
        assert!(Usual::from_field(&field).is_some());
        for (place, byte) in [(0, 0x12), (0, 0x08), (1, 13), (1, 11)] {
            let right = std::mem::replace(&mut field[place], byte);
            assert!(Usual::from_field(&field).is_none());
            field[place] = right;
        }
    }
}
