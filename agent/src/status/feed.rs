//! From the reactor to the model: what changed in one settling.

use crate::{
    board::Board,
    holders::{Tracker, Use, usage},
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::mpsc;
use vfiod_core::{
    allocator::Resource,
    device::DeviceId,
    holding::Object,
    inventory::{Inventory, Outcome, Transition},
};

/// What changed in one settling.
#[derive(Debug, Default)]
pub struct Note {
    /// Resources that are listed from now on.
    pub opened: Vec<Arc<Resource>>,
    /// Resources that have ended.
    pub closed: Vec<Arc<Resource>>,
    /// Devices whose verdicts changed, where somebody follows them.
    pub transitions: Vec<Transition>,
    /// Devices whose owner or holders changed; `None` where there is neither any more.
    pub uses: Vec<(DeviceId, Option<Use>)>,
}

/// More devices than this are not looked up one by one: who owns or holds one is rare.
const MANY: usize = 64;

/// Tells the model what changed. Costs as much as there is to tell, and nothing where nobody looks.
#[derive(Debug)]
pub struct Feed {
    board: Arc<Board>,
    notes: mpsc::UnboundedSender<Note>,
    /// The devices that were in use when they were told of last.
    used: HashSet<DeviceId>,
}

impl Feed {
    /// A feed, and where its notes come out.
    #[must_use]
    pub fn new(board: Arc<Board>) -> (Self, mpsc::UnboundedReceiver<Note>) {
        let (notes, told) = mpsc::unbounded_channel();
        (Self { board, notes, used: HashSet::new() }, told)
    }

    /// Takes what a settling changed.
    pub fn settled(&mut self, outcome: Outcome, opened: Vec<Arc<Resource>>, inventory: &Inventory, tracker: &Tracker) {
        let Outcome { closed, mut transitions, judged, .. } = outcome;
        if !self.board.is_followed() {
            transitions.clear();
        }
        let uses = self.changed_uses(&judged, inventory, tracker);
        if opened.is_empty() && closed.is_empty() && transitions.is_empty() && uses.is_empty() {
            return;
        }
        // Nobody takes it when the agent stops.
        let _ = self.notes.send(Note { opened, closed, transitions, uses });
    }

    fn changed_uses(
        &mut self,
        judged: &[DeviceId],
        inventory: &Inventory,
        tracker: &Tracker,
    ) -> Vec<(DeviceId, Option<Use>)> {
        let candidates: Vec<DeviceId> = if judged.len() <= MANY {
            judged.to_vec()
        } else {
            let open = inventory.holdings().iter().flat_map(|(object, _)| devices(inventory, object));
            let mut used: HashSet<DeviceId> = self.used.iter().copied().collect();
            used.extend(inventory.ledger().devices().chain(open));
            used.into_iter().filter(|device| judged.binary_search(device).is_ok()).collect()
        };
        let mut uses = Vec::new();
        for device in candidates {
            let usage = usage(inventory, tracker, device);
            let was_used = if usage.is_some() { !self.used.insert(device) } else { self.used.remove(&device) };
            if usage.is_some() || was_used {
                uses.push((device, usage));
            }
        }
        uses
    }
}

/// The devices that are in use when an object is open.
fn devices(inventory: &Inventory, object: Object) -> Vec<DeviceId> {
    match object {
        Object::Device(device) => vec![device],
        Object::Group(group) => inventory.host().members_of(group).collect(),
    }
}
