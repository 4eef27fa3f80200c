//! The devices on offer, by what speaks for and against them.

use super::plan::{Bundle, plan};
use crate::{
    allocator::{ClaimState, Slot},
    device::GroupId,
    health::COMPANION_WINDOW,
    ownership::Moment,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

/// A NUMA node; `None` gathers the devices of which the kernel does not say where they are.
type Numa = Option<u32>;

/// What is on offer, best first.
pub(super) struct Offer<'a> {
    /// Of a required device's group, or of one claimed moments ago: the same pod may be asking.
    companions: Vec<&'a Slot>,
    /// Healthy, of groups that nobody has, by NUMA node.
    idle: BTreeMap<Numa, Vec<Bundle<'a>>>,
    /// Of groups that somebody else has, or unhealthy.
    busy: Vec<&'a Slot>,
}

impl<'a> Offer<'a> {
    /// Sorts what is `listed`; devices that `Allocate` would refuse are left out.
    pub(super) fn sort(anchors: &[&Slot], mut listed: Vec<&'a Slot>, now: Moment) -> Self {
        // The kubelet offers them in any order (it keeps sets); the advice must not depend on that.
        listed.sort_unstable_by_key(|slot| slot.id());
        let anchored: HashSet<GroupId> = anchors.iter().filter_map(|slot| slot.group()).collect();
        let (mut companions, mut idle, mut busy) = (Vec::new(), Vec::new(), Vec::new());
        for slot in listed.into_iter().filter(|slot| slot.refusal().is_none()) {
            let word = slot.group_word().load();
            let claimed = word.state() != ClaimState::Free;
            if slot.group().is_some_and(|group| anchored.contains(&group)) {
                companions.push((Moment::MAX, slot));
            } else if claimed && slot.is_healthy() && now.saturating_sub(word.moment()) <= COMPANION_WINDOW {
                // Unhealthy: the claim is under this same resource, for which a container asks only once.
                companions.push((word.moment(), slot));
            } else if claimed || !slot.is_healthy() {
                busy.push(slot);
            } else {
                idle.push(slot);
            }
        }
        // The latest claim is the likeliest to be that of the pod which is being admitted now.
        companions.sort_by_key(|&(moment, slot)| (Reverse(moment), slot.group()));
        let companions = companions.into_iter().map(|(_, slot)| slot).collect();
        Self { companions, idle: by_node(idle), busy }
    }

    /// The best `needed` of them; fewer only where there are no more.
    pub(super) fn choose(self, anchors: &[&Slot], needed: usize) -> Vec<&'a Slot> {
        let Self { companions, mut idle, busy } = self;
        let mut chosen: Vec<&Slot> = companions.into_iter().take(needed).collect();
        let used: Vec<Numa> = anchors.iter().chain(&chosen).map(|slot| slot.numa()).collect();
        while chosen.len() < needed {
            let left = needed - chosen.len();
            let near = used.iter().copied().find(|node| idle.contains_key(node));
            let Some(bundles) = near.or_else(|| best_node(&idle, left)).and_then(|node| idle.remove(&node)) else {
                break;
            };
            chosen.extend(plan(&bundles, left).slots);
        }
        chosen.extend(busy.into_iter().take(needed - chosen.len()));
        chosen
    }
}

/// Gathers the devices of each group, and the groups of each node.
fn by_node(slots: Vec<&Slot>) -> BTreeMap<Numa, Vec<Bundle<'_>>> {
    let mut nodes: BTreeMap<Numa, Vec<Bundle<'_>>> = BTreeMap::new();
    let mut places: HashMap<(Numa, GroupId), usize> = HashMap::with_capacity(slots.len());
    for slot in slots {
        let bundles = nodes.entry(slot.numa()).or_default();
        let place = match slot.group() {
            Some(group) => *places.entry((slot.numa(), group)).or_insert(bundles.len()),
            None => bundles.len(),
        };
        match bundles.get_mut(place) {
            Some(bundle) => bundle.push(slot),
            None => bundles.push(vec![slot]),
        }
    }
    nodes
}

/// The node that can give all that is needed at the least loss, and of equal ones the smallest, so that large ones stay
/// whole; where none can, the largest.
fn best_node(nodes: &BTreeMap<Numa, Vec<Bundle<'_>>>, needed: usize) -> Option<Numa> {
    let best = nodes.iter().min_by_key(|(node, bundles)| {
        let count: usize = bundles.iter().map(Vec::len).sum();
        let enough = count >= needed;
        let loss = enough.then(|| plan(bundles, needed).loss);
        (!enough, loss, if enough { count } else { usize::MAX - count }, **node)
    });
    best.map(|(&node, _)| node)
}
