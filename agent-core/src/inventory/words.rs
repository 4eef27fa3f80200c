//! The claim words of all groups.

use crate::{allocator::GroupWord, device::GroupId};
use std::{collections::BTreeMap, sync::Arc};

/// Groups that have their words side by side: the kernel numbers groups one after the other (`drivers/iommu/iommu.c`,
/// `iommu_group_alloc`), so that a host with very many of them has hardly any number without a word.
const TOGETHER: GroupId = 8;

/// The claim words of groups, by number. A word stays for ever: a group may come back while a claim on it is known.
#[derive(Debug, Default)]
pub(super) struct Words(BTreeMap<GroupId, [Option<Arc<GroupWord>>; TOGETHER as usize]>);

impl Words {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, group: GroupId) -> Option<&Arc<GroupWord>> {
        self.0.get(&(group / TOGETHER))?.get((group % TOGETHER) as usize)?.as_ref()
    }

    /// The word of a group; a new one where it has none.
    pub(super) fn of(&mut self, group: GroupId) -> Arc<GroupWord> {
        let words = self.0.entry(group / TOGETHER).or_default();
        let word = words.get_mut((group % TOGETHER) as usize);
        word.map(|word| Arc::clone(word.get_or_insert_default())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_one_word_of_its_own() {
        let mut words = Words::default();
        let groups = [0, 1, 7, 8, 9, 4096, GroupId::MAX - 1, GroupId::MAX];
        let made = groups.map(|group| {
            assert!(words.get(group).is_none());
            words.of(group)
        });
        for (group, word) in groups.into_iter().zip(&made) {
            assert!(
                Arc::ptr_eq(&words.of(group), word) && words.get(group).is_some_and(|known| Arc::ptr_eq(known, word))
            );
            assert_eq!(made.iter().filter(|other| Arc::ptr_eq(other, word)).count(), 1);
        }
    }
}
