//! Which devices to prefer: the advice that `GetPreferredAllocation` gives.

use super::{ClaimState, Resource, Slot};
use crate::{device::DeviceId, device::GroupId, health::COMPANION_WINDOW, ownership::Moment};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

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

/// The devices of one group that are offered, and how they are to be treated.
struct Bundle<'a> {
    slots: Vec<&'a Arc<Slot>>,
    /// Another of its members can be allocated under another resource.
    shared: bool,
    companion: Companion,
}

/// Whether a group was claimed before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Companion {
    /// Claimed moments ago, or by a required device: the same pod may be asking.
    Of,
    /// Not claimed.
    No,
    /// Claimed, and not moments ago: most likely another pod's.
    Stranger,
}

impl Resource {
    /// Chooses devices for one container, best first: the required ones, those that complete a group claimed moments
    /// ago, then of one NUMA node, whole groups before parts of groups, and lone devices before splitting a group.
    ///
    /// # Errors
    /// When the wish contradicts itself; the kubelet fails the admission then.
    pub fn prefer(&self, wish: Wish<'_>, now: Moment) -> Result<Vec<String>, PreferenceError> {
        let Wish { available, required, size } = wish;
        let mut seen = HashSet::with_capacity(size);
        let mut chosen: Vec<String> = required.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
        if chosen.len() > size {
            return Err(PreferenceError::TooManyRequired { required: chosen.len(), size });
        }
        let offered: Vec<&String> = available.iter().filter(|id| !seen.contains(id.as_str())).collect();
        if chosen.len() + offered.len() < size {
            return Err(PreferenceError::TooFew { size, offered: chosen.len() + offered.len() });
        }
        let table = self.table();
        let slot = |id: &str| id.parse().ok().and_then(|id: DeviceId| table.get(id));
        let needed = size - chosen.len();
        let anchors: Vec<&Arc<Slot>> = chosen.iter().filter_map(|id| slot(id)).collect();
        let known: Vec<&Arc<Slot>> = offered.iter().filter_map(|id| slot(id)).collect();
        let mut picked: Vec<String> =
            pick(&anchors, known, needed, now).iter().map(|slot| slot.text().to_owned()).collect();
        if picked.len() < needed {
            // Ids of a list that has changed since: better than failing the admission, Allocate has the last word.
            let have: HashSet<&str> = picked.iter().map(String::as_str).collect();
            let rest: Vec<String> = offered
                .iter()
                .filter(|id| !have.contains(id.as_str()))
                .take(needed - picked.len())
                .map(|id| (*id).clone())
                .collect();
            picked.extend(rest);
        }
        chosen.append(&mut picked);
        Ok(chosen)
    }
}

fn pick<'a>(anchors: &[&'a Arc<Slot>], offered: Vec<&'a Arc<Slot>>, needed: usize, now: Moment) -> Vec<&'a Arc<Slot>> {
    let mut picked: Vec<&Arc<Slot>> = Vec::with_capacity(needed);
    let mut bundles = bundle(anchors, offered, now);

    bundles.retain(|bundle| {
        let complete = bundle.companion == Companion::Of;
        if complete {
            picked.extend(bundle.slots.iter().take(needed - picked.len().min(needed)));
        }
        !complete
    });

    let anchor = anchors.iter().chain(&picked).map(|slot| slot.numa()).next();
    for node in numa_order(&bundles, anchor, needed - picked.len()) {
        let mut here: Vec<Bundle<'_>> = Vec::new();
        let (mut of_node, others): (Vec<_>, Vec<_>) = bundles.into_iter().partition(|bundle| bundle.numa() == node);
        bundles = others;
        here.append(&mut of_node);
        fill(&mut picked, here, needed);
        if picked.len() == needed {
            break;
        }
    }
    picked
}

impl Bundle<'_> {
    fn numa(&self) -> Option<u32> {
        self.slots.first().and_then(|slot| slot.numa())
    }

    /// How many functions would be lost to others if one of them is taken alone.
    fn is_whole(&self, needed: usize) -> bool {
        self.slots.len() <= needed
    }
}

/// Sorts the offered devices by their group.
fn bundle<'a>(anchors: &[&Arc<Slot>], offered: Vec<&'a Arc<Slot>>, now: Moment) -> Vec<Bundle<'a>> {
    let anchored: HashSet<GroupId> = anchors.iter().filter_map(|slot| slot.group()).collect();
    let mut places: HashMap<GroupId, usize> = HashMap::with_capacity(offered.len());
    let mut bundles: Vec<Bundle<'a>> = Vec::with_capacity(offered.len());
    for slot in offered {
        let place = slot.group().and_then(|group| places.get(&group).copied());
        if let Some(bundle) = place.and_then(|place| bundles.get_mut(place)) {
            bundle.slots.push(slot);
            continue;
        }
        let word = slot.group_word().load();
        let companion = if slot.group().is_some_and(|group| anchored.contains(&group)) {
            Companion::Of
        } else if word.state() == ClaimState::Free {
            Companion::No
        } else if now.saturating_sub(word.moment()) <= COMPANION_WINDOW {
            Companion::Of
        } else {
            Companion::Stranger
        };
        if let Some(group) = slot.group() {
            places.insert(group, bundles.len());
        }
        bundles.push(Bundle { slots: vec![slot], shared: !slot.is_lone(), companion });
    }
    bundles
}

/// The NUMA nodes in the order in which to use them: the one already used, then the fullest fit for what is needed.
fn numa_order(bundles: &[Bundle<'_>], anchor: Option<Option<u32>>, needed: usize) -> Vec<Option<u32>> {
    let mut counts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for bundle in bundles.iter().filter(|bundle| bundle.companion == Companion::No) {
        *counts.entry(bundle.numa()).or_default() += bundle.slots.len();
    }
    for bundle in bundles {
        counts.entry(bundle.numa()).or_default();
    }
    let mut nodes: Vec<(Option<u32>, usize)> = counts.into_iter().collect();
    nodes.sort_by_key(|&(node, count)| {
        let enough = count >= needed;
        // Enough devices: the smallest such node, so that larger ones stay whole. Not enough: the largest.
        let fit = if enough { count } else { usize::MAX - count };
        (anchor != Some(node), !enough, fit, node)
    });
    nodes.into_iter().map(|(node, _)| node).collect()
}

/// Takes from bundles of one NUMA node until `needed` are picked.
fn fill<'a>(picked: &mut Vec<&'a Arc<Slot>>, mut bundles: Vec<Bundle<'a>>, needed: usize) {
    // Strangers last; groups that need not be split first, large ones before small ones; then the lone ones, which
    // cost nobody else a device; of the groups that must be split, the smallest loses least.
    bundles.sort_by_key(|bundle| {
        let whole = bundle.is_whole(needed - picked.len().min(needed));
        let size = bundle.slots.len();
        (
            bundle.companion,
            !whole,
            bundle.shared && size == 1,
            if whole { Reverse(size) } else { Reverse(usize::MAX - size) },
        )
    });
    let mut parts = Vec::new();
    for bundle in bundles {
        let left = needed - picked.len();
        if left == 0 {
            return;
        }
        if bundle.is_whole(left) {
            picked.extend(bundle.slots);
        } else {
            parts.push(bundle);
        }
    }
    for bundle in parts {
        let left = needed - picked.len();
        picked.extend(bundle.slots.into_iter().take(left));
    }
}
