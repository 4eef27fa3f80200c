//! The devices listed under one resource, and the judgement of each.

use super::{Inventory, Outcome, Overflow, Transition, flaps::Flaps, host::Host};
use crate::{
    allocator::{Blueprint, GroupWord, MESSAGE_LIMIT, Resource, Slot, Table},
    device::{Binding, DevNodes, Device, DeviceId, Group, GroupId},
    health::{COMPANION_WINDOW, Driver, Facts, GroupState, Health, Sibling, UNBOUND_GRACE, Verdict, judge},
    ownership::{Claim, Ledger, Moment},
    permit::{Permit, ResourceName},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The devices under one resource.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) resource: Arc<Resource>,
    pub(super) permitted: bool,
    entries: BTreeMap<DeviceId, Entry>,
    left_out: usize,
}

/// One listed device.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Arc<Slot>,
    unbound_since: Option<Moment>,
    flaps: Flaps,
}

impl Listing {
    pub(super) fn new(name: ResourceName) -> Self {
        let resource = Arc::new(Resource::new(name));
        Self { resource, permitted: true, entries: BTreeMap::new(), left_out: 0 }
    }

    pub(super) fn device_ids(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.entries.keys().copied()
    }

    pub(super) fn slot(&self, id: DeviceId) -> Option<&Arc<Slot>> {
        self.entries.get(&id).map(|entry| &entry.slot)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.entries.values().map(|entry| &entry.slot)
    }

    /// Whether a free device is kept back because another member of its group is claimed.
    pub(super) fn withholds(&self) -> bool {
        use crate::health::Reason;
        self.entries
            .values()
            .any(|entry| !entry.slot.is_healthy() && matches!(entry.slot.verdict().reason, Reason::GroupInUse { .. }))
    }

    /// The table to publish: everything, unless the kubelet could not receive it.
    fn table(&mut self, ledger: &Ledger) -> (Table, Option<Overflow>) {
        let name = self.resource.name().clone();
        let total: usize = self.entries.values().map(|entry| entry.slot.listed_size()).sum();
        if total <= MESSAGE_LIMIT {
            self.left_out = 0;
            return (Table::new(self.entries.values().map(|entry| Arc::clone(&entry.slot)).collect()), None);
        }
        // What is in use stays listed whatever happens; the rest in the order of the ids.
        let claimed = |entry: &Entry| ledger.claim(name.as_str(), entry.slot.id()).is_some();
        let (first, rest): (Vec<&Entry>, Vec<&Entry>) = self.entries.values().partition(|entry| claimed(entry));
        let mut room = MESSAGE_LIMIT;
        let mut slots: Vec<Arc<Slot>> = Vec::with_capacity(self.entries.len());
        for entry in first.into_iter().chain(rest) {
            let size = entry.slot.listed_size();
            if size > room {
                break;
            }
            room -= size;
            slots.push(Arc::clone(&entry.slot));
        }
        slots.sort_by_key(|slot| slot.id());
        let left_out = self.entries.len() - slots.len();
        let news = left_out != self.left_out;
        self.left_out = left_out;
        let overflow = news.then_some(Overflow { resource: name, listed: slots.len(), left_out });
        (Table::new(slots), overflow)
    }
}

impl Inventory {
    /// Judges one device under every resource that lists it, or should.
    pub(super) fn judge_device(
        &mut self,
        id: DeviceId,
        now: Moment,
        touched: &mut BTreeSet<ResourceName>,
        outcome: &mut Outcome,
    ) {
        let device = self.host.device(id);
        let target =
            device.and_then(|device| self.permit.resource_of(device)).filter(|permitted| permitted.is_served());
        let mut names: Vec<ResourceName> = target.iter().map(|permitted| permitted.name.clone()).collect();
        for (name, listing) in &self.listings {
            let concerned = listing.entries.contains_key(&id) || self.ledger.claim(name.as_str(), id).is_some();
            if concerned && !names.contains(name) {
                names.push(name.clone());
            }
        }
        let target = target.map(|permitted| permitted.name.clone());
        for name in names {
            let permitted = target.as_ref() == Some(&name);
            self.judge_under(&name, id, permitted, now, touched, outcome);
        }
    }

    /// Judges one device under a resource whether it is listed or not; under none, it is judged for itself.
    #[must_use]
    pub fn examine(&self, resource: Option<&str>, id: DeviceId, now: Moment) -> Verdict {
        let name = resource.unwrap_or_default();
        let scene = Scene { host: &self.host, ledger: &self.ledger, permit: &self.permit, name, id, now };
        let claim = match resource {
            Some(name) => self.ledger.claim(name, id),
            None => self.ledger.of(id).next().map(|(_, claim)| claim),
        };
        scene.verdict(claim).0
    }

    fn judge_under(
        &mut self,
        name: &ResourceName,
        id: DeviceId,
        permitted: bool,
        now: Moment,
        touched: &mut BTreeSet<ResourceName>,
        outcome: &mut Outcome,
    ) {
        let Some(listing) = self.listings.get_mut(name) else { return };
        let scene =
            Scene { host: &self.host, ledger: &self.ledger, permit: &self.permit, name: name.as_str(), id, now };
        let claim = self.ledger.claim(name.as_str(), id);
        let entry = listing.entries.get_mut(&id);
        let bound = self.host.device(id).map(|device| device.binding.is_vfio());
        let listed = match (bound, claim) {
            (Some(true), _) if permitted => true,
            (_, Some(_)) => true,
            (Some(false), None) if permitted => entry.as_ref().is_some_and(|entry| {
                let drop_at = entry.unbound_since.unwrap_or(now) + UNBOUND_GRACE;
                if now < drop_at {
                    self.alarms.insert((drop_at, id));
                }
                now < drop_at
            }),
            _ => false,
        };
        if !listed {
            if let Some(entry) = listing.entries.remove(&id) {
                touched.insert(name.clone());
                let before = Some(Verdict::clone(&entry.slot.verdict()));
                outcome.transitions.push(Transition { resource: name.clone(), device: id, before, now: None });
            }
            return;
        }

        let word = match scene.group() {
            Some(group) => Arc::clone(self.words.entry(group.id).or_default()),
            None => entry.as_ref().map_or_else(Arc::<GroupWord>::default, |entry| entry.slot.shared_group_word()),
        };
        let blueprint = scene.blueprint(word);
        let (mut verdict, alarm) = scene.verdict(claim);
        self.alarms.extend(alarm.map(|at| (at, id)));

        let Some(entry) = entry else {
            touched.insert(name.clone());
            let news = Transition { resource: name.clone(), device: id, before: None, now: Some(verdict.clone()) };
            outcome.transitions.push(news);
            let unbound_since = (bound == Some(false)).then_some(now);
            let slot = Arc::new(Slot::new(blueprint, verdict));
            listing.entries.insert(id, Entry { slot, unbound_since, flaps: Flaps::default() });
            return;
        };
        entry.unbound_since = (bound == Some(false)).then(|| entry.unbound_since.unwrap_or(now));
        let before = entry.slot.verdict();
        match (before.health, verdict.health) {
            (Health::Healthy, Health::Unhealthy) => entry.flaps.fell(now),
            (Health::Unhealthy, Health::Unhealthy) => entry.flaps.unwell(),
            (Health::Unhealthy, Health::Healthy) => {
                if let Some(at) = entry.flaps.recovery(now) {
                    self.alarms.insert((at, id));
                    verdict = scene.settling(claim);
                }
            }
            (Health::Healthy, Health::Healthy) => {}
        }
        if *before != verdict {
            let (before, now) = (Some(Verdict::clone(&before)), Some(verdict.clone()));
            outcome.transitions.push(Transition { resource: name.clone(), device: id, before, now });
        }
        if !entry.slot.matches(&blueprint) {
            entry.slot = Arc::new(Slot::new(blueprint, verdict));
            touched.insert(name.clone());
        } else if *before != verdict && entry.slot.decide(verdict) && !touched.contains(name) {
            outcome.flipped.insert(name.clone());
        }
    }

    /// Swaps the tables of `touched`, rings the bells of all that changed, and ends what is no longer permitted.
    pub(super) fn publish(&mut self, touched: &BTreeSet<ResourceName>, outcome: &mut Outcome) {
        for name in touched {
            let Some(listing) = self.listings.get_mut(name) else { continue };
            let (table, overflow) = listing.table(&self.ledger);
            listing.resource.set_table(table);
            outcome.overflows.extend(overflow);
        }
        let flipped = std::mem::take(&mut outcome.flipped);
        for name in touched.union(&flipped) {
            let Some(listing) = self.listings.get(name) else { continue };
            listing.resource.bell().ring();
            outcome.changed.push(Arc::clone(&listing.resource));
        }
        self.listings.retain(|_, listing| {
            let ends = !listing.permitted && listing.entries.is_empty();
            if ends {
                listing.resource.retire();
                listing.resource.bell().ring();
                outcome.closed.push(Arc::clone(&listing.resource));
            }
            !ends
        });
    }
}

/// Everything around one device under one resource.
struct Scene<'a> {
    host: &'a Host,
    ledger: &'a Ledger,
    permit: &'a Permit,
    name: &'a str,
    id: DeviceId,
    now: Moment,
}

impl<'a> Scene<'a> {
    fn device(&self) -> Option<&'a Device> {
        self.host.device(self.id)
    }

    /// The group that the host shows; one that discovery has not read yet counts as having no other members.
    fn group(&self) -> Option<&'a Group> {
        self.host.group(self.device()?.group?)
    }

    fn group_id(&self) -> Option<GroupId> {
        self.device()?.group
    }

    fn blueprint(&self, word: Arc<GroupWord>) -> Blueprint {
        let others = self.host.group_members(self.id).iter().filter(|&&other| other != self.id);
        let allocatable = |other: &DeviceId| {
            self.host.device(*other).is_some_and(|device| {
                device.binding.is_vfio()
                    && self.permit.resource_of(device).is_some_and(|permitted| permitted.is_served())
            })
        };
        let mut nodes = Vec::new();
        if let (Some(device), Some(group)) = (self.device(), self.group()) {
            nodes.push(DevNodes::group_path(device, group).into());
            nodes.extend(self.host.nodes().cdev_paths(device).map(Into::into));
        }
        Blueprint {
            id: self.id,
            numa: self.device().and_then(|device| device.numa),
            group: self.group_id(),
            word,
            lone: !others.copied().any(|other| allocatable(&other)),
            nodes,
        }
    }

    /// The verdict, and when it may change by time alone.
    fn verdict(&self, claim: Option<&Claim>) -> (Verdict, Option<Moment>) {
        if claim.is_some() {
            return (self.judge(claim, None, false), None);
        }
        // What is proved counts before what withholds at once; of several, the eldest.
        let weight = |sibling: &Sibling<'_>| (sibling.is_proved(), sibling.withholds(), Reverse(sibling.claim.order));
        let gravest = self.siblings().max_by_key(weight);
        let unsettled = self.siblings().filter(|sibling| !sibling.settled && sibling.claim.owner().is_some());
        let alarm = unsettled.map(|sibling| sibling.claim.since + COMPANION_WINDOW).min();
        (self.judge(claim, gravest, false), alarm)
    }

    fn settling(&self, claim: Option<&Claim>) -> Verdict {
        self.judge(claim, None, true)
    }

    fn judge(&self, claim: Option<&Claim>, sibling: Option<Sibling<'a>>, settling: bool) -> Verdict {
        let device = self.device();
        let driver = match device.map(|device| &device.binding) {
            Some(Binding::Vfio(_)) => Driver::Vfio,
            Some(Binding::Host(name)) => Driver::Host(name),
            Some(Binding::Unbound) | None => Driver::Unbound,
        };
        let obstacle = self.group().and_then(Group::obstacle);
        let group = match (self.group_id(), self.group(), &obstacle) {
            (None, ..) => GroupState::Missing,
            (Some(id), _, Some(obstacle)) => GroupState::NotViable(id, obstacle),
            (Some(id), Some(group), None)
                if group.noiommu && !self.id.is_mdev() && !self.permit.settings().allow_no_iommu =>
            {
                GroupState::NoIommu(id)
            }
            _ => GroupState::Viable,
        };
        let missing_node = match (device, self.group()) {
            (Some(device), Some(group)) if !self.host.nodes().has_group(device, group) => {
                Some(DevNodes::group_path(device, group))
            }
            _ => None,
        };
        judge(&Facts {
            present: device.is_some(),
            driver,
            group,
            missing_node: missing_node.as_deref(),
            claim,
            sibling,
            holder: None,
            aer_fatal: false,
            cordoned: false,
            settling,
        })
    }

    /// All claims that stand against this device: on other members of its group, and on itself under other resources.
    fn siblings(&self) -> impl Iterator<Item = Sibling<'a>> {
        let Self { ledger, now, name, id, .. } = *self;
        let group = self.group_id();
        let members = self.host.group_members(id).iter().copied().filter(move |&member| member != id);
        members
            .chain([id])
            .flat_map(move |device| ledger.of(device).map(move |(resource, claim)| (device, resource, claim)))
            .filter(move |&(device, resource, _)| !(device == id && resource == name))
            .map(move |(device, resource, claim)| Sibling {
                group,
                device,
                resource,
                companion: device != id && resource != name,
                claim,
                settled: claim.order == 0 || now >= claim.since + COMPANION_WINDOW,
            })
    }
}
