//! The devices listed under one resource.

use super::{
    Overflow,
    entries::Entries,
    flaps::Flaps,
    scene::{Scene, Times},
};
use crate::{
    allocator::{Blueprint, GroupWord, MESSAGE_LIMIT, Resource, Slot, Table},
    device::DeviceId,
    health::{Health, Reason, STUCK_AFTER, UNBOUND_GRACE, Verdict},
    ownership::{Ledger, Moment},
    permit::ResourceName,
};
use rustc_hash::FxHashSet;
use std::{collections::BTreeMap, sync::Arc};

/// The devices under one resource.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) resource: Arc<Resource>,
    pub(super) permitted: bool,
    entries: Entries,
    /// Since when a listed device has no VFIO driver any more.
    unbound: BTreeMap<DeviceId, Moment>,
    /// Since when a process of a pod has a listed device open though nobody owns it.
    left_open: BTreeMap<DeviceId, Moment>,
    /// Free devices that are kept back because another member of their group is claimed.
    withheld: FxHashSet<DeviceId>,
}

/// What judging one device changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The verdict before and now, where they differ; none where the device was not, or is not, listed.
    pub(super) transition: Option<(Option<Verdict>, Option<Verdict>)>,
    /// Whether the table must be published anew.
    pub(super) table: bool,
    /// Whether the health of a published device changed.
    pub(super) health: bool,
    /// When to judge again though nothing happens.
    pub(super) again: Option<Moment>,
}

impl Listing {
    pub(super) fn new(name: ResourceName) -> Self {
        let resource = Arc::new(Resource::new(name));
        let (entries, unbound, left_open) = Default::default();
        Self { resource, permitted: true, entries, unbound, left_open, withheld: FxHashSet::default() }
    }

    pub(super) fn device_ids(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.slots().map(|slot| slot.id())
    }

    pub(super) fn slot(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        self.entries.get(id)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.entries.iter()
    }

    /// Whether a free device is kept back because another member of its group is claimed.
    pub(super) fn withholds(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Whether it is no longer permitted and lists nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        !self.permitted && self.entries.is_empty()
    }

    /// Judges a device. `target`: this is the resource that permits it now; `word`: the claim word of its group.
    pub(super) fn judge(
        &mut self,
        scene: &Scene<'_>,
        target: bool,
        word: Option<Arc<GroupWord>>,
        flaps: &mut Flaps,
    ) -> Change {
        let before = self.entries.get(scene.id);
        let claimed = scene.claim().is_some();
        let since = |seen: bool, known: &BTreeMap<DeviceId, Moment>| {
            seen.then(|| known.get(&scene.id).copied().unwrap_or(scene.now))
        };
        let unbound_since = since(scene.bound() == Some(false), &self.unbound);
        let drop_at = unbound_since.map(|since| since + UNBOUND_GRACE);
        // What never was bound is not offered at all; what was is kept for a while.
        let offers = || drop_at.map_or(scene.bound() == Some(true), |drop_at| before.is_some() && scene.now < drop_at);
        if !(claimed || target && offers()) {
            return self.drop(scene, flaps);
        }

        let left_open_since = since(scene.is_left_open(), &self.left_open);
        let stuck_at = left_open_since.map(|since| since + STUCK_AFTER);
        let stuck = stuck_at.is_some_and(|at| at <= scene.now);

        let was = before.map(|slot| slot.verdict());
        let (verdict, settled_at) = self.verdict(scene, was.as_deref(), stuck, flaps);
        let by_time = [scene.companion_deadline(), drop_at].into_iter().filter(|_| !claimed);
        let by_time = by_time.chain([settled_at, stuck_at.filter(|_| !stuck), scene.patience_deadline()]);
        let mut change = Change { again: by_time.flatten().min(), ..Change::default() };
        if was.as_deref() != Some(&verdict) {
            change.transition = Some((was.as_deref().cloned(), Some(verdict.clone())));
        }
        if matches!(verdict.reason, Reason::GroupInUse { .. }) {
            self.withheld.insert(scene.id);
        } else {
            self.withheld.remove(&scene.id);
        }

        let own_word = || before.filter(|slot| slot.group().is_none()).map(|slot| slot.word());
        let word = word.or_else(own_word).unwrap_or_default();
        let blueprint = scene.blueprint(Arc::clone(&word));
        match before {
            // A device that is gone stays what it was.
            Some(slot) if blueprint.as_ref().is_none_or(|blueprint| slot.matches(blueprint)) => {
                change.health = change.transition.is_some() && self.resource.decide(slot, verdict);
                // What is in use is listed, also where not all devices fit.
                change.table = claimed && self.entries.left_out() > 0 && !self.entries.is_published(scene.id);
            }
            _ => {
                change.table = true;
                let unknown = || Blueprint { former: scene.former(), ..Blueprint::unknown(scene.id, word) };
                let slot = Slot::new(blueprint.unwrap_or_else(unknown), verdict);
                self.entries.set(scene.id, Some(Arc::new(slot)));
            }
        }
        note(&mut self.unbound, scene.id, unbound_since);
        note(&mut self.left_open, scene.id, left_open_since);
        change
    }

    /// The verdict; a device that flapped is told when it may be healthy again.
    fn verdict(
        &self,
        scene: &Scene<'_>,
        was: Option<&Verdict>,
        stuck: bool,
        flaps: &mut Flaps,
    ) -> (Verdict, Option<Moment>) {
        let (name, verdict) = (self.resource.name(), scene.verdict(Times { settling: false, stuck }));
        let was_healthy = was.is_some_and(|was| was.health == Health::Healthy);
        match verdict.health {
            // That somebody has it, or another member of its group, is no fault of the device.
            Health::Unhealthy
                if was_healthy && !matches!(verdict.reason, Reason::GroupInUse { .. } | Reason::Held(_)) =>
            {
                flaps.fell(name, scene.id, scene.now);
            }
            Health::Unhealthy => flaps.unwell(name, scene.id),
            Health::Healthy if was_healthy => {}
            Health::Healthy => {
                if let Some(at) = flaps.recovery(name, scene.id, scene.now) {
                    return (scene.verdict(Times { settling: true, stuck }), Some(at));
                }
            }
        }
        (verdict, None)
    }

    fn drop(&mut self, scene: &Scene<'_>, flaps: &mut Flaps) -> Change {
        let Some(slot) = self.entries.get(scene.id).map(Arc::clone) else { return Change::default() };
        self.entries.set(scene.id, None);
        self.withheld.remove(&scene.id);
        self.unbound.remove(&scene.id);
        self.left_open.remove(&scene.id);
        if slot.is_healthy() && scene.device().is_none() {
            flaps.fell(self.resource.name(), scene.id, scene.now);
        }
        let was = Verdict::clone(&slot.verdict());
        Change { transition: Some((Some(was), None)), table: true, ..Change::default() }
    }

    /// Publishes the table: everything, unless the kubelet could not receive it.
    pub(super) fn publish(&mut self, ledger: &Ledger) -> Option<Overflow> {
        let total: usize = self.slots().map(|slot| slot.listed_size()).sum();
        if total <= MESSAGE_LIMIT {
            let slots = self.slots().cloned().collect();
            self.entries.published(self.resource.set_table(Table::new(slots)));
            return None;
        }
        // What is in use stays listed whatever happens; the rest in the order of the ids.
        let name = self.resource.name();
        let claimed = |slot: &&Arc<Slot>| ledger.claim(name.as_str(), slot.id()).is_some();
        let (first, rest): (Vec<_>, Vec<_>) = self.slots().partition(claimed);
        let mut size = 0;
        let fits = |slot: &&Arc<Slot>| {
            size += slot.listed_size();
            size <= MESSAGE_LIMIT
        };
        let mut slots: Vec<Arc<Slot>> = first.into_iter().chain(rest).take_while(fits).cloned().collect();
        slots.sort_by_key(|slot| slot.id());
        let (listed, before) = (slots.len(), self.entries.left_out());
        self.entries.published(self.resource.set_table(Table::new(slots)));
        let left_out = self.entries.left_out();
        (left_out != before).then(|| Overflow { resource: self.resource.name().clone(), listed, left_out })
    }
}

/// Keeps since when something is so, or forgets it.
fn note(known: &mut BTreeMap<DeviceId, Moment>, id: DeviceId, since: Option<Moment>) {
    match since {
        Some(since) => _ = known.insert(id, since),
        None => _ = known.remove(&id),
    }
}
