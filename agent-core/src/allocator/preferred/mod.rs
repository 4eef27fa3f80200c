//! Which devices to prefer: the advice that `GetPreferredAllocation` gives.
//!
//! ```text
//! Wish ─> required (all of them)
//!         companions: complete a group of the required ones, or one claimed moments ago, the latest first
//!         idle:       one NUMA node, and there whole groups, then lone devices (plan)
//!         others:     groups that somebody else has, devices that are unhealthy, ids that are not listed any more
//! ```

mod asked;
mod offer;
mod plan;

use super::{
    Resource,
    wire::{self, Field, Fields, Malformed},
};
use crate::ownership::Moment;
use asked::Asked;
use offer::Offer;
use std::collections::HashSet;

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
    /// The request cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
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
        let table = self.table();
        let mut asked = Asked::new(&table);
        wish.available.iter().try_for_each(|id| asked.offer(id.as_bytes()))?;
        wish.required.iter().try_for_each(|id| asked.require(id.as_bytes()))?;
        let again = wish.available.iter().map(|id| id.as_bytes());
        Ok(choose(&asked, wish.size, now, again)?.into_iter().map(str::to_owned).collect())
    }

    /// Chooses as [`prefer`](Self::prefer) does for a `ContainerPreferredAllocationRequest` as it came, and appends the
    /// `ContainerPreferredAllocationResponse`.
    ///
    /// # Errors
    /// When the wish contradicts itself or cannot be read.
    pub fn prefer_encoded(&self, container: &[u8], now: Moment, to: &mut Vec<u8>) -> Result<(), PreferenceError> {
        let table = self.table();
        let mut asked = Asked::new(&table);
        let (mut fields, mut size) = (Fields(container), 0);
        loop {
            asked.offer_usual(&mut fields);
            match fields.next()? {
                Some(Field::Bytes(1, id)) => asked.offer(id)?,
                Some(Field::Bytes(2, id)) => asked.require(id)?,
                // An int32; a negative one asks for nothing.
                Some(Field::Varint(3, number)) => size = usize::try_from(number as i32).unwrap_or_default(),
                Some(_) => {}
                None => break,
            }
        }
        let mut fields = Fields(container);
        let again = std::iter::from_fn(|| {
            loop {
                match fields.next() {
                    Ok(Some(Field::Bytes(1, id))) => return Some(id),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        });
        let chosen = choose(&asked, size, now, again)?;
        chosen.into_iter().for_each(|id| wire::put_field(to, 1, id.as_bytes()));
        Ok(())
    }
}

/// Chooses; `again` gives the offered ids once more, in their order.
fn choose<'a>(
    asked: &Asked<'a>,
    size: usize,
    now: Moment,
    again: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<&'a str>, PreferenceError> {
    let required = asked.required();
    if required.len() > size {
        return Err(PreferenceError::TooManyRequired { required: required.len(), size });
    }
    let (offered, needed) = (asked.offered(), size - required.len());
    let offered_in_all = required.len() + offered.len() + asked.strangers();
    if offered_in_all < size {
        return Err(PreferenceError::TooFew { size, offered: offered_in_all });
    }
    let (table, anchors) = (asked.table(), asked.anchors());
    let ranked = Offer::sort(table, &anchors, &offered, needed, now).choose(&anchors, needed);
    let mut chosen = required;
    chosen.extend(ranked.into_iter().map(|slot| slot.text()));
    if chosen.len() < size {
        let mut taken: HashSet<&str> = chosen.iter().copied().collect();
        let rest = again.filter_map(|id| std::str::from_utf8(id).ok()).filter(|&id| taken.insert(id));
        let missing = size - chosen.len();
        let rest: Vec<&str> = rest.take(missing).collect();
        chosen.extend(rest);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
