//! One resource: its name, its devices, its variables and its bell.

use super::{
    Bell, List, Slot, Table,
    sync::{ArcSwap, AtomicBool, Guard, Ordering, fence},
};
use crate::device::DeviceId;
use crate::health::Verdict;
use crate::permit::{self, ResourceName, Settings};
use crate::variables::{Carried, variables};
use std::sync::Arc;

/// A resource that this node serves.
#[derive(Debug)]
pub struct Resource {
    name: ResourceName,
    variables: ArcSwap<Variables>,
    table: ArcSwap<Table>,
    bell: Bell,
    retired: AtomicBool,
}

/// The environment variables that carry the devices of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// Names whose value lists BDFs.
    pub pci: Vec<String>,
    /// Names whose value lists mdev UUIDs.
    pub mdev: Vec<String>,
}

impl Variables {
    /// The variables of a permitted resource.
    #[must_use]
    pub fn of(resource: &permit::Resource, settings: &Settings) -> Self {
        let names = |kind| variables(&resource.name, kind, settings.env_names, &resource.aliases);
        Self { pci: names(Carried::Pci), mdev: names(Carried::Mdev) }
    }
}

impl Resource {
    pub(crate) fn new(name: ResourceName) -> Self {
        Self {
            name,
            variables: ArcSwap::default(),
            table: ArcSwap::default(),
            bell: Bell::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// Its name, as pods ask for it.
    #[must_use]
    pub const fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The environment variables that carry its devices.
    #[must_use]
    pub fn variables(&self) -> Guard<Arc<Variables>> {
        self.variables.load()
    }

    /// Its devices now.
    #[must_use]
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// What a `ListAndWatch` message says of it now.
    #[must_use]
    pub fn list(&self) -> List {
        List::of(self.table.load_full())
    }

    /// Its bell: rings when the list or a health changes.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Whether it is no longer permitted and nothing of it is in use: its endpoint may end.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn set_variables(&self, variables: Variables) {
        self.variables.store(Arc::new(variables));
    }

    /// Publishes a table, and gives it back.
    pub(crate) fn set_table(&self, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        self.table.store(Arc::clone(&table));
        // A claim between the making of the table and now is marked by whoever of the two comes second: the claimer looks
        // for a new table after it wrote the word, this looks at the words after the table was published.
        fence(Ordering::SeqCst);
        table.look_at_claims();
        table
    }

    /// Takes note that the reactor has settled the claim on the group of one of its devices.
    pub(crate) fn claim_settled(&self, id: DeviceId) {
        let table = self.table.load();
        if let Some(place) = table.place(id) {
            table.claim_settled(place);
        }
    }

    /// Marks `claimed` slots, which are of `table` and whose groups have just been claimed, there and in the table that
    /// may have taken its place.
    pub(super) fn mark_claimed(&self, table: &Arc<Table>, claimed: impl Iterator<Item = (usize, DeviceId)> + Clone) {
        claimed.clone().for_each(|(place, _)| table.mark_claimed(place));
        fence(Ordering::SeqCst);
        let now = self.table.load();
        if !Arc::ptr_eq(&now, table) {
            claimed.filter_map(|(_, id)| now.place(id)).for_each(|place| now.mark_claimed(place));
        }
    }

    /// Writes a new verdict on one of its devices; returns whether the health changed. Only the reactor calls this.
    pub(crate) fn decide(&self, slot: &Slot, verdict: Verdict) -> bool {
        let changed = slot.decide(verdict);
        // A slot that is not in the table yet is marked when the table is made.
        let table = self.table.load();
        if let Some(place) = table.place(slot.id()) {
            table.mark(place, slot);
        }
        changed
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }
}
