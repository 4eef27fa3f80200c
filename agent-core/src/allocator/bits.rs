//! Sets of places in a table, one bit each.

/// A set of places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set of places below `count`.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// The words of a set.
    pub(super) fn from_words(words: impl Iterator<Item = u64>) -> Self {
        Self(words.collect())
    }

    /// Its words.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// Adds a place; places beyond the end are not added.
    #[inline]
    pub(super) fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Takes a place out.
    pub(super) fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    pub(super) fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The set that is in this one and not in the other.
    pub(super) fn without(&self, other: impl Iterator<Item = u64>) -> Self {
        Self(self.0.iter().zip(other.chain(std::iter::repeat(0))).map(|(word, other)| word & !other).collect())
    }

    /// The set that is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect())
    }

    /// The places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(places in prop::collection::btree_set(0usize..300, 0..40), others in prop::collection::btree_set(0usize..300, 0..40)) {
            let of = |places: &BTreeSet<usize>| {
                let mut bits = Bits::new(300);
                places.iter().for_each(|&place| bits.insert(place));
                bits
            };
            let (mut bits, other) = (of(&places), of(&others));
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), places.clone());
            prop_assert_eq!(bits.len(), places.len());
            prop_assert_eq!(bits.and(&other), of(&places.intersection(&others).copied().collect()));
            prop_assert_eq!(bits.without(other.0.iter().copied()), of(&places.difference(&others).copied().collect()));
            for &place in &others {
                prop_assert_eq!(bits.contains(place), places.contains(&place));
                bits.remove(place);
            }
            prop_assert_eq!(bits, of(&places.difference(&others).copied().collect()));
        }
    }
}
