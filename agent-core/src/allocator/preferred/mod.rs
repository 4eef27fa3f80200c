//! Which devices to prefer: the advice that `GetPreferredAllocation` gives.
//!
//! ```text
//! Wish ─> required (all of them)
//!         companions: complete a group of the required ones, or one claimed moments ago, the latest first
//!         idle:       one NUMA node, and there whole groups, then lone devices (plan)
//!         others:     groups that somebody else has, devices that are unhealthy, ids that are not listed any more
//! ```

mod offer;
mod plan;

use super::{Resource, Slot};
use crate::{device::DeviceId, ownership::Moment};
use offer::Offer;
use std::{collections::HashSet, sync::Arc};

/// What a container wishes: some of `available`, all of `required`.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Ids to choose from.
    pub available: &'a [String],
    /// Ids that must be in the answer.
    pub required: &'a [String],
    /// How many ids the answer has.
    pub size: usize,
}

/// Why there is no advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreferenceError {
    /// More is asked for than is offered.
    #[error("{size} devices are asked for, but only {offered} are offered")]
    TooFew {
        /// How many are asked for.
        size: usize,
        /// How many are offered.
        offered: usize,
    },
    /// More ids are required than asked for.
    #[error("{required} devices must be included, but only {size} are asked for")]
    TooManyRequired {
        /// How many must be included.
        required: usize,
        /// How many are asked for.
        size: usize,
    },
}

impl Resource {
    /// Chooses devices for one container, best first: the required ones, those that complete a group claimed moments
    /// ago, then of one NUMA node, whole groups before parts of groups, and lone devices before splitting a group.
    ///
    /// Ids that are not listed any more count as the worst choice and not as an error: an error fails the admission,
    /// and `Allocate` has the last word.
    ///
    /// # Errors
    /// When the wish contradicts itself.
    pub fn prefer(&self, wish: Wish<'_>, now: Moment) -> Result<Vec<String>, PreferenceError> {
        let Wish { available, required, size } = wish;
        let mut seen: HashSet<&str> = HashSet::with_capacity(available.len());
        let required: Vec<&str> = required.iter().map(String::as_str).filter(|id| seen.insert(id)).collect();
        let available: Vec<&str> = available.iter().map(String::as_str).filter(|id| seen.insert(id)).collect();
        let offered = required.len() + available.len();
        if required.len() > size {
            return Err(PreferenceError::TooManyRequired { required: required.len(), size });
        }
        if offered < size {
            return Err(PreferenceError::TooFew { size, offered });
        }
        let table = self.table();
        let slots = |ids: &[&str]| -> Vec<&Slot> {
            let slot = |id: &&str| table.get(id.parse::<DeviceId>().ok()?).filter(|slot| slot.text() == *id);
            ids.iter().filter_map(slot).map(Arc::as_ref).collect()
        };
        let (anchors, listed) = (slots(&required), slots(&available));
        let ranked = Offer::sort(&anchors, listed, now).choose(&anchors, size - required.len());
        let mut chosen = required;
        chosen.extend(ranked.iter().map(|slot| slot.text()));
        let taken: HashSet<&str> = chosen.iter().copied().collect();
        let rest: Vec<&str> =
            available.into_iter().filter(|id| !taken.contains(id)).take(size - chosen.len()).collect();
        Ok(chosen.into_iter().chain(rest).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests;
