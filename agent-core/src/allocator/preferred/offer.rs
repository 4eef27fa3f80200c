//! The devices on offer, by what speaks for and against them.

use super::plan::{Bundle, NodeOffer, plan};
use crate::{
    allocator::{ClaimState, Slot, Table, bits::Bits},
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
    idle: BTreeMap<Numa, NodeOffer<'a>>,
    /// Of groups that somebody else has, or unhealthy.
    busy: Vec<&'a Slot>,
}

impl<'a> Offer<'a> {
    /// Sorts what is `offered`, in the order of the ids: the kubelet offers them in any order (it keeps sets), and the
    /// advice must not depend on that. Devices that `Allocate` would refuse are left out, and so are lone idle devices
    /// beyond those that can be `needed`.
    pub(super) fn sort(table: &'a Table, anchors: &[&Slot], offered: &Bits, needed: usize, now: Moment) -> Self {
        let anchored: HashSet<GroupId> = anchors.iter().filter_map(|slot| slot.group()).collect();
        let (mut companions, mut busy, mut grouped) = (Vec::new(), Vec::new(), Vec::new());
        let offered = offered.without(table.refused());
        let unhealthy = Bits::from_words(table.unhealthy());
        // Nearly all are idle, lone, and of no group that is asked about: they are not even looked at.
        let mut lone = match anchored.is_empty() {
            true => offered.and(&table.lay.lone).without(table.unhealthy()).without(table.claimed()),
            false => Bits::new(table.slots().len()),
        };
        for place in offered.without(lone.words()).iter() {
            let Some(word) = table.word(place).map(|word| word.load()) else { continue };
            let claimed = word.state() != ClaimState::Free;
            let healthy = !unhealthy.contains(place);
            let Some(slot) = table.slots().get(place).map(AsRef::as_ref) else { continue };
            if slot.group().is_some_and(|group| anchored.contains(&group)) {
                companions.push((Reverse(Moment::MAX), slot.group(), place));
            } else if claimed && healthy && now.saturating_sub(word.moment()) <= COMPANION_WINDOW {
                // Unhealthy: the claim is under this same resource, for which a container asks only once.
                companions.push((Reverse(word.moment()), slot.group(), place));
            } else if claimed || !healthy {
                busy.push(slot);
            } else if slot.is_lone() {
                lone.insert(place);
            } else {
                grouped.push(slot);
            }
        }
        // The latest claim is the likeliest to be that of the pod which is being admitted now.
        // Only those that can be needed are put in order.
        if companions.len() > needed {
            let _ = companions.select_nth_unstable(needed);
            companions.truncate(needed);
        }
        companions.sort_unstable();
        let slots = companions.into_iter().filter_map(|(_, _, place)| table.slots().get(place));
        let companions = slots.map(AsRef::as_ref).collect();
        Self { companions, idle: by_node(table, &lone, grouped, needed), busy }
    }

    /// The best `needed` of them; fewer only where there are no more.
    pub(super) fn choose(self, anchors: &[&Slot], needed: usize) -> Vec<&'a Slot> {
        let Self { companions, mut idle, busy } = self;
        let mut chosen: Vec<&Slot> = companions.into_iter().take(needed).collect();
        let used: Vec<Numa> = anchors.iter().chain(&chosen).map(|slot| slot.numa()).collect();
        while chosen.len() < needed {
            let left = needed - chosen.len();
            let near = used.iter().copied().find(|node| idle.contains_key(node));
            let Some(offer) = near.or_else(|| best_node(&idle, left)).and_then(|node| idle.remove(&node)) else {
                break;
            };
            chosen.extend(plan(&offer, left).slots);
        }
        chosen.extend(busy.into_iter().take(needed - chosen.len()));
        chosen
    }
}

/// Gathers what each node offers: of the lone ones as many as can be needed, of the others the devices of each group.
fn by_node<'a>(table: &'a Table, lone: &Bits, grouped: Vec<&'a Slot>, needed: usize) -> BTreeMap<Numa, NodeOffer<'a>> {
    let mut nodes: BTreeMap<Numa, NodeOffer<'_>> = BTreeMap::new();
    for (&node, members) in table.lay.nodes.iter().zip(&table.lay.of_node) {
        let lone = lone.and(members);
        let count = lone.len();
        if count > 0 {
            let slots = lone.iter().take(needed).filter_map(|place| table.slots().get(place)).map(AsRef::as_ref);
            nodes.insert(node, NodeOffer { count, lone: slots.collect(), bundles: Vec::new() });
        }
    }
    let mut places: HashMap<(Numa, GroupId), usize> = HashMap::with_capacity(grouped.len());
    for slot in grouped {
        let NodeOffer { count, bundles, .. } = nodes.entry(slot.numa()).or_default();
        *count += 1;
        let place = match slot.group() {
            Some(group) => *places.entry((slot.numa(), group)).or_insert(bundles.len()),
            None => bundles.len(),
        };
        match bundles.get_mut(place) {
            Some(bundle) => bundle.push(slot),
            None => bundles.push(Bundle::from([slot])),
        }
    }
    nodes
}

/// The node that can give all that is needed at the least loss, and of equal ones the smallest, so that large ones stay
/// whole; where none can, the largest.
fn best_node(nodes: &BTreeMap<Numa, NodeOffer<'_>>, needed: usize) -> Option<Numa> {
    let best = nodes.iter().min_by_key(|(node, offer)| {
        let enough = offer.count >= needed;
        let loss = enough.then(|| plan(offer, needed).loss);
        (!enough, loss, if enough { offer.count } else { usize::MAX - offer.count }, **node)
    });
    best.map(|(&node, _)| node)
}
