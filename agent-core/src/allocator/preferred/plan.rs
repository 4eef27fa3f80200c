//! Which groups of one NUMA node to take: whole ones where that comes out even, lone devices for the rest.

use crate::allocator::Slot;
use std::{cmp::Reverse, collections::BTreeSet};

/// The devices of one group that are on offer; never empty.
pub(super) type Bundle<'a> = Vec<&'a Slot>;

/// What one NUMA node offers.
#[derive(Default)]
pub(super) struct NodeOffer<'a> {
    /// How many devices.
    pub(super) count: usize,
    /// Devices without a companion under any resource: the first ones, as many as can be needed.
    pub(super) lone: Vec<&'a Slot>,
    /// The others, by group.
    pub(super) bundles: Vec<Bundle<'a>>,
}

/// The devices to take, and what others lose by it.
pub(super) struct Plan<'a> {
    pub(super) slots: Vec<&'a Slot>,
    pub(super) loss: Loss,
}

/// What a plan costs; the less the better. The order of the fields is their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss {
    /// Whether a group is split: what is left of it is of no use to another pod.
    split: bool,
    /// How many devices come in whole groups.
    grouped: Reverse<usize>,
    /// How many devices leave a companion under another resource, which is of no use to another pod either.
    parted: usize,
}

/// Plans to take `needed` of what a node offers, or all where there are fewer.
///
/// At most one group is split. What is left of it is lost anyway, so all that does not come in whole groups is taken
/// from it then, and lone devices are left to others.
pub(super) fn plan<'a>(offer: &NodeOffer<'a>, needed: usize) -> Plan<'a> {
    let needed = needed.min(offer.count);
    let (single, mut groups): (Vec<&Bundle<'_>>, Vec<_>) = offer.bundles.iter().partition(|bundle| bundle.len() == 1);
    let mut lone: Vec<&Slot> = offer.lone.clone();
    lone.extend(single.into_iter().flatten());
    groups.sort_by_key(|group| Reverse(group.len()));

    let (whole, others) = whole_groups(groups, needed);
    let mut slots: Vec<&Slot> = whole.into_iter().flatten().copied().collect();
    let grouped = slots.len();
    let rest = needed - grouped;
    let split = rest > lone.len();
    if split {
        // Each of the others has more than `rest` devices, or it would be among the whole ones.
        let smallest = others.into_iter().min_by_key(|group| group.len());
        slots.extend(smallest.into_iter().flatten().take(rest));
    } else {
        slots.extend(lone.into_iter().take(rest));
    }
    let parted = slots.iter().skip(grouped).filter(|slot| !slot.is_lone()).count();
    Plan { slots, loss: Loss { split, grouped: Reverse(grouped), parted } }
}

/// Separates the groups that together have the most devices up to `needed` from the others.
fn whole_groups<'b, 'a>(groups: Vec<&'b Bundle<'a>>, needed: usize) -> (Vec<&'b Bundle<'a>>, Vec<&'b Bundle<'a>>) {
    // A subset sum. For each sum that can be reached: the place of the last group on the way to it.
    let mut last: Vec<Option<usize>> = vec![None; needed + 1];
    let step = |last: &[Option<usize>], sum: usize| last.get(sum).copied().flatten();
    for (place, group) in groups.iter().enumerate() {
        for sum in (group.len()..=needed).rev() {
            let before = sum - group.len();
            if (before == 0 || step(&last, before).is_some())
                && let Some(unreached @ None) = last.get_mut(sum)
            {
                *unreached = Some(place);
            }
        }
    }
    let mut sum = (1..=needed).rev().find(|&sum| step(&last, sum).is_some()).unwrap_or(0);
    let mut taken = BTreeSet::new();
    while let Some(place) = step(&last, sum) {
        taken.insert(place);
        sum -= groups.get(place).map_or(sum, |group| group.len());
    }
    let (whole, others): (Vec<_>, Vec<_>) =
        groups.into_iter().enumerate().partition(|(place, _)| taken.contains(place));
    let groups_of = |placed: Vec<(usize, &'b Bundle<'a>)>| placed.into_iter().map(|(_, group)| group).collect();
    (groups_of(whole), groups_of(others))
}
