//! What is listed, and why: facts, permits and claims folded into one table per resource.
//!
//! The [`Inventory`] is a value that one thread owns. Facts are told to it (`set_…`, `device_read`, …), each marking what
//! it touches; [`Inventory::settle`] then judges exactly the marked devices, swaps the tables that changed and says what
//! became different. Nothing is judged twice for one event, however many devices the host has.

mod flaps;
mod host;
mod listing;
mod outcome;
mod view;

pub use host::{Completeness, Host};
pub use outcome::{Outcome, Overflow, Transition};
pub use view::View;

use crate::{
    allocator::{Answered, ClaimState, GroupWord, Resource, Variables},
    device::{DevNodes, Device, DeviceId, Group, GroupId, Node},
    ownership::{Fence, Ledger, Moment, PENDING_GRACE, Reading, fence},
    permit::{Permit, ResourceName},
};
use listing::Listing;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// All that vfiod knows of this node, and what it lists because of it.
#[derive(Debug, Default)]
pub struct Inventory {
    permit: Arc<Permit>,
    host: Host,
    ledger: Ledger,
    listings: BTreeMap<ResourceName, Listing>,
    words: HashMap<GroupId, Arc<GroupWord>>,
    /// Devices to judge again.
    dirty: BTreeSet<DeviceId>,
    /// When to judge which device again though nothing happens.
    alarms: BTreeSet<(Moment, DeviceId)>,
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
        let changed = self.host.replace(devices, groups, complete);
        self.mark(changed);
        if let Some(nodes) = nodes {
            self.nodes_read(nodes);
        }
    }

    /// Takes what sysfs says of one device now; `None` when it is gone.
    pub fn device_read(&mut self, id: DeviceId, device: Option<Device>) {
        let changed = self.host.set_device(id, device);
        self.mark(changed);
    }

    /// Takes the members of one group; `None` when it is gone.
    pub fn group_read(&mut self, id: GroupId, group: Option<Group>) {
        let changed = self.host.set_group(id, group);
        self.mark(changed);
    }

    /// Takes the nodes below `/dev/vfio`.
    pub fn nodes_read(&mut self, nodes: DevNodes) {
        let changed = self.host.set_nodes(nodes);
        self.dirty.extend(changed);
    }

    /// Takes the appearance or the loss of one node below `/dev/vfio`.
    pub fn node_changed(&mut self, node: &Node, exists: bool) {
        let changed = self.host.set_node(node, exists);
        self.dirty.extend(changed);
    }

    /// Takes a grant that was answered to the kubelet.
    pub fn answered(&mut self, answered: &Answered) {
        let name = answered.resource.shared();
        for &device in &answered.devices {
            self.ledger.answered(name, device, answered.at, answered.order);
            self.mark_with_group(device);
        }
    }

    /// Takes one look at the sources of ownership; returns whether it changed anything.
    pub fn observed(&mut self, reading: &Reading) -> bool {
        let changed = self.ledger.observe(reading);
        for &device in &changed {
            self.mark_with_group(device);
        }
        !changed.is_empty()
    }

    /// Judges what was marked, swaps the tables that changed, and rings their bells.
    pub fn settle(&mut self, now: Moment) -> Outcome {
        let mut outcome = Outcome { opened: std::mem::take(&mut self.opened), ..Outcome::default() };
        while let Some(&(at, device)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            self.dirty.insert(device);
        }
        let dirty = std::mem::take(&mut self.dirty);
        self.settle_words(&dirty, now);
        let mut touched: BTreeSet<ResourceName> = BTreeSet::new();
        for id in dirty {
            self.judge_device(id, now, &mut touched, &mut outcome);
        }
        self.publish(&touched, &mut outcome);
        outcome.wake = self.alarms.first().map(|&(at, _)| at);
        outcome
    }

    /// Whether a container that was given `devices` of `resource` may start.
    #[must_use]
    pub fn fence(&self, resource: &str, devices: &[DeviceId]) -> Fence {
        fence(&self.ledger, resource, devices, |device| self.host.group_members(device).iter())
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

    fn mark(&mut self, changed: impl IntoIterator<Item = DeviceId>) {
        for id in changed {
            self.mark_with_group(id);
        }
    }

    fn mark_with_group(&mut self, id: DeviceId) {
        self.dirty.insert(id);
        self.dirty.extend(self.host.group_members(id));
    }

    /// Brings the claim words of the groups of `dirty` up to what the ledger knows.
    fn settle_words(&mut self, dirty: &BTreeSet<DeviceId>, now: Moment) {
        let groups: BTreeSet<GroupId> = dirty.iter().filter_map(|&id| self.host.group_of(id)).collect();
        for group in groups {
            let Some(word) = self.words.get(&group) else { continue };
            let seen = word.load();
            let claims = || self.host.members_of(group).iter().flat_map(|&member| self.ledger.of(member));
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
            }
        }
    }
}
