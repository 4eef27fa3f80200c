//! What is listed, and why: facts, permits and claims folded into one table per resource.
//!
//! The [`Inventory`] is a value that one thread owns. Facts are told to it (`set_…`, `device_read`, …), each marking what
//! it touches; [`Inventory::settle`] then judges exactly the marked devices, swaps the tables that changed and says what
//! became different. Nothing is judged twice for one event, however many devices the host has.

mod claimed;
mod entries;
mod flaps;
mod groups;
mod held;
mod host;
mod listing;
mod outcome;
mod scene;
mod view;
mod words;

pub use held::Unreleased;
pub use host::{Completeness, Host};
pub use outcome::{Outcome, Overflow, Transition};
pub use view::View;

use crate::{
    allocator::{ClaimState, Resource, Variables},
    device::{DevNodes, Device, DeviceId, Group, GroupId, Node},
    health::Verdict,
    ownership::{Fence, Ledger, Moment, PENDING_GRACE, Reading, fence},
    permit::{Permit, ResourceName},
};
use claimed::Claimed;
use flaps::Flaps;
use listing::{Change, Listing};
use scene::{Scene, Seen, Stage, Times};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use words::Words;

/// The names of the resources that have to do with a device: one, as a rule.
type Names = SmallVec<[ResourceName; 1]>;

/// All that vfiod knows of this node, and what it lists because of it.
#[derive(Debug, Default)]
pub struct Inventory {
    permit: Arc<Permit>,
    host: Host,
    ledger: Ledger,
    seen: Seen,
    listings: BTreeMap<ResourceName, Listing>,
    /// The resources of devices that more than one lists: those that were in use when they changed hands.
    several: BTreeMap<DeviceId, Names>,
    words: Words,
    flaps: Flaps,
    /// Devices to judge again, in any order and more than once.
    dirty: Vec<DeviceId>,
    /// Devices of which nothing has changed but that they were claimed: they need not be judged.
    claimed: Vec<Claimed>,
    /// When to judge which device again though nothing happens.
    alarms: BTreeSet<(Moment, DeviceId)>,
    /// When the event came because of which devices are marked.
    event: Option<Moment>,
    /// Resources that were opened since the last settling.
    opened: Vec<Arc<Resource>>,
}

impl Inventory {
    /// Takes a new permit; resources that it does not change keep their tables untouched.
    pub fn set_permit(&mut self, permit: Arc<Permit>) {
        for listing in self.listings.values_mut() {
            listing.permitted = false;
        }
        for permitted in permit.served() {
            let variables = Variables::of(permitted, permit.settings());
            let listing = self.listings.entry(permitted.name.clone()).or_insert_with(|| {
                let listing = Listing::new(permitted.name.clone());
                self.opened.push(Arc::clone(&listing.resource));
                listing
            });
            listing.permitted = true;
            if **listing.resource.variables() != variables {
                listing.resource.set_variables(variables);
            }
        }
        self.permit = permit;
        self.dirty.extend(self.host.device_ids());
        self.dirty.extend(self.listings.values().flat_map(Listing::device_ids));
        for name in self.listings.keys() {
            self.dirty.extend(self.ledger.claimed_under(name.as_str()));
        }
    }

    /// Takes a whole scan. What it could not read keeps its last state.
    pub fn scanned(
        &mut self,
        devices: Vec<Device>,
        groups: Vec<Group>,
        nodes: Option<DevNodes>,
        complete: &Completeness,
    ) {
        self.host.replace(devices, groups, complete, &mut self.dirty);
        let (host, broken) = (&self.host, &mut self.seen.broken);
        broken.retain(|&id| host.device(id).is_some_and(|device| device.binding.is_vfio()));
        if let Some(nodes) = nodes {
            self.nodes_read(nodes);
        }
    }

    /// Takes what sysfs says of one device now; `None` when it is gone.
    pub fn device_read(&mut self, id: DeviceId, device: Option<Device>) {
        let bound = |host: &Host| host.device(id).is_some_and(|device| device.binding.is_vfio());
        let was_bound = bound(&self.host);
        self.host.set_device(id, device, &mut self.dirty);
        if was_bound && !bound(&self.host) {
            self.seen.broken.remove(&id);
        }
    }

    /// Takes the members of one group; `None` when it is gone.
    pub fn group_read(&mut self, id: GroupId, group: Option<Group>) {
        self.host.set_group(id, group, &mut self.dirty);
    }

    /// Takes the nodes below `/dev/vfio`.
    pub fn nodes_read(&mut self, nodes: DevNodes) {
        self.host.set_nodes(nodes, &mut self.dirty);
    }

    /// Takes the appearance or the loss of one node below `/dev/vfio`.
    pub fn node_changed(&mut self, node: &Node, exists: bool) {
        self.host.set_node(node, exists, &mut self.dirty);
    }

    /// Takes one look at the sources of ownership; returns whether it changed anything.
    pub fn observed(&mut self, reading: &Reading) -> bool {
        let informed = reading.checkpoint.read().is_some() || reading.pod_resources.read().is_some();
        if informed && !std::mem::replace(&mut self.seen.informed, true) {
            self.mark_held();
        }
        let changed = self.ledger.observe(reading);
        for &device in &changed {
            self.mark_with_group(device);
        }
        !changed.is_empty()
    }

    /// Takes when the event came that the next settling is for; none where no event is the cause.
    pub const fn happened(&mut self, event: Option<Moment>) {
        self.event = event;
    }

    /// Judges what was marked, swaps the tables that changed, and rings their bells.
    pub fn settle(&mut self, now: Moment) -> Outcome {
        while let Some(&(at, device)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            self.dirty.push(device);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort(); // it is made of runs in order, which a stable sort only has to merge
        dirty.dedup();
        let mut outcome = Outcome { opened: std::mem::take(&mut self.opened), ..Outcome::default() };
        let claimed = self.settle_claimed(&mut dirty, &mut outcome.transitions);
        self.settle_words(&dirty, now);
        let (mut tables, mut changed) = (BTreeSet::new(), BTreeSet::new());
        for &id in &dirty {
            let target = self.target(id).cloned();
            let concerned = self.concerned(id, target.as_ref());
            for resource in &concerned {
                let change = self.judge(resource, id, target.as_ref() == Some(resource), now);
                self.alarms.extend(change.again.map(|at| (at, id)));
                if change.table {
                    tables.insert(resource.clone());
                }
                if change.table || change.health {
                    changed.insert(resource.clone());
                }
                if let Some((before, now)) = change.transition {
                    outcome.transitions.push(Transition { resource: resource.clone(), device: id, before, now });
                }
            }
            self.note_several(id, concerned);
        }
        self.flaps.sweep(now);
        self.publish(&tables, &changed, &mut outcome);
        outcome.judged = claimed::merged(dirty, claimed);
        let alarm = self.alarms.first().map(|&(at, _)| at);
        outcome.wake = [alarm, self.flaps.next_sweep()].into_iter().flatten().min();
        outcome
    }

    /// Judges one device under a resource whether it is listed or not; under none, it is judged for itself.
    #[must_use]
    pub fn examine(&self, resource: Option<&str>, id: DeviceId, now: Moment) -> Verdict {
        self.scene(resource, id, now).verdict(Times::default())
    }

    /// Whether a container that was given `devices` of `resource` may start.
    #[must_use]
    pub fn fence(&self, resource: &str, devices: &[DeviceId]) -> Fence {
        fence(&self.ledger, resource, devices, |device| self.host.group_members(device))
    }

    /// The claims on this node.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the host has.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The permit in force.
    #[must_use]
    pub const fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// Whether a source of ownership should be read soon: a claim has no pod yet, or a free device is withheld because
    /// of somebody else's claim.
    #[must_use]
    pub fn awaits_ownership(&self) -> bool {
        self.ledger.has_pending() || self.listings.values().any(Listing::withholds)
    }

    fn mark_with_group(&mut self, id: DeviceId) {
        self.dirty.push(id);
        self.dirty.extend(self.host.group_members(id));
    }

    /// Brings the claim words of the groups of `dirty` up to what the ledger knows.
    fn settle_words(&mut self, dirty: &[DeviceId], now: Moment) {
        if self.words.is_empty() {
            return;
        }
        let groups: BTreeSet<GroupId> = dirty.iter().filter_map(|&id| self.host.group_of(id)).collect();
        for group in groups {
            let Some(word) = self.words.get(group) else { continue };
            let seen = word.load();
            let claims = || self.host.members_of(group).flat_map(|member| self.ledger.of(member));
            let newest = claims().map(|(_, claim)| claim.since).max().unwrap_or_default();
            let unheard = seen.moment().as_micros() > newest.as_micros() && now < seen.moment() + PENDING_GRACE;
            if seen.state() == ClaimState::Pending && unheard {
                continue; // a grant that is on its way to the ledger, which will mark the group again
            }
            let state = if claims().next().is_none() {
                ClaimState::Free
            } else if claims().any(|(_, claim)| claim.owner().is_none()) {
                ClaimState::Pending
            } else {
                ClaimState::Owned
            };
            if seen.state() != state {
                word.settle(seen, state);
                self.claim_settled(group);
            }
        }
    }

    /// Tells the tables that list members of a group that the claim on it was settled.
    fn claim_settled(&self, group: GroupId) {
        for member in self.host.members_of(group) {
            for name in self.listing(member, self.target(member)) {
                if let Some(listing) = self.listings.get(name) {
                    listing.resource.claim_settled(member);
                }
            }
        }
    }

    fn scene<'a>(&'a self, resource: Option<&'a str>, id: DeviceId, now: Moment) -> Scene<'a> {
        let Self { host, ledger, permit, seen, .. } = self;
        Stage { host, ledger, permit, seen, now }.scene(resource, id)
    }

    /// The served resource that permits a device now.
    fn target(&self, id: DeviceId) -> Option<&ResourceName> {
        let permitted = self.permit.resource_of(self.host.device(id)?)?;
        permitted.is_served().then_some(&permitted.name)
    }

    /// The resources that list a device. Nearly all devices are listed under the one that permits them, or nowhere, so that this
    /// is looked up and not kept.
    fn listing<'a>(&'a self, id: DeviceId, target: Option<&'a ResourceName>) -> SmallVec<[&'a ResourceName; 1]> {
        if let Some(names) = self.several.get(&id) {
            return names.iter().collect();
        }
        let target = target.filter(|name| self.listings.get(*name).is_some_and(|listing| listing.slot(id).is_some()));
        let any = || self.listings.iter().find(|(_, listing)| listing.slot(id).is_some()).map(|(name, _)| name);
        target.or_else(any).into_iter().collect()
    }

    /// Notes which of the resources that a device was judged under list it, where it is more than one.
    fn note_several(&mut self, id: DeviceId, mut concerned: Names) {
        if concerned.len() < 2 && self.several.is_empty() {
            return;
        }
        concerned.retain(|name| self.listings.get(name).is_some_and(|listing| listing.slot(id).is_some()));
        if concerned.len() > 1 {
            self.several.insert(id, concerned);
        } else {
            self.several.remove(&id);
        }
    }

    /// The resources that list a device, or should: the one that permits it, those that did when it was listed, and
    /// those under which it is claimed.
    fn concerned(&self, id: DeviceId, target: Option<&ResourceName>) -> Names {
        let listing = self.listing(id, target);
        let claimed =
            self.ledger.of(id).filter_map(|(name, _)| self.listings.get_key_value(name)).map(|(name, _)| name);
        let mut names: Names = target.into_iter().chain(listing).chain(claimed).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Judges one device under one resource.
    fn judge(&mut self, resource: &ResourceName, id: DeviceId, target: bool, now: Moment) -> Change {
        let Some(listing) = self.listings.get_mut(resource) else { return Change::default() };
        let (host, ledger, permit, seen) = (&self.host, &self.ledger, &self.permit, &self.seen);
        let scene = Stage { host, ledger, permit, seen, now }.scene(Some(resource.as_str()), id);
        let word = scene.device().and_then(|device| device.group).map(|group| self.words.of(group));
        listing.judge(&scene, target, word, &mut self.flaps)
    }

    /// Swaps the tables of `tables`, rings the bells of all that `changed`, and ends what is no longer permitted.
    fn publish(&mut self, tables: &BTreeSet<ResourceName>, changed: &BTreeSet<ResourceName>, outcome: &mut Outcome) {
        for name in tables {
            outcome.overflows.extend(self.listings.get_mut(name).and_then(|listing| listing.publish(&self.ledger)));
        }
        for listing in changed.iter().filter_map(|name| self.listings.get(name)) {
            listing.resource.bell().ring_for(self.event);
            outcome.changed.push(Arc::clone(&listing.resource));
        }
        for (_, listing) in self.listings.extract_if(.., |_, listing| listing.has_ended()) {
            listing.resource.retire();
            listing.resource.bell().ring();
            outcome.closed.push(listing.resource);
        }
    }
}

#[cfg(test)]
mod tests;
