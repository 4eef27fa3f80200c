//! From the reactor to the model: what changed in one settling.

use crate::{
    board::Board,
    holders::{Tracker, Use, usage},
};
use rustc_hash::FxHashSet;
use std::sync::Arc;
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
    pub uses: Uses,
}

/// Devices with how they are used.
pub type Uses = Vec<(DeviceId, Option<Arc<Use>>)>;

/// More devices than this are not looked up one by one: who owns or holds one is rare.
const MANY: usize = 64;

/// Tells the model what changed. Costs as much as there is to tell, and nothing where nobody looks.
#[derive(Debug)]
pub struct Feed {
    board: Arc<Board>,
    notes: mpsc::UnboundedSender<Note>,
    /// The devices that were in use when they were told of last.
    used: FxHashSet<DeviceId>,
    /// What was told last: most devices of a crowd are used in the same way, and share it.
    last: Option<Arc<Use>>,
}

impl Feed {
    /// A feed, and where its notes come out.
    #[must_use]
    pub fn new(board: Arc<Board>) -> (Self, mpsc::UnboundedReceiver<Note>) {
        let (notes, told) = mpsc::unbounded_channel();
        (Self { board, notes, used: FxHashSet::default(), last: None }, told)
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

    fn changed_uses(&mut self, judged: &[DeviceId], inventory: &Inventory, tracker: &Tracker) -> Uses {
        let few = judged.len() <= MANY;
        let open: FxHashSet<DeviceId> = if few {
            FxHashSet::default()
        } else {
            inventory.holdings().iter().flat_map(|(object, _)| devices(inventory, object)).collect()
        };
        let mut uses = Vec::new();
        for &device in judged {
            let is_used = few || inventory.ledger().claimed_as(device).is_some() || open.contains(&device);
            let usage = if is_used { usage(inventory, tracker, device) } else { None };
            let was_used = if usage.is_some() { !self.used.insert(device) } else { self.used.remove(&device) };
            if usage.is_some() || was_used {
                uses.push((device, usage.map(|usage| self.shared(usage))));
            }
        }
        if self.used.len() < self.used.capacity() / 8 {
            self.used.shrink_to_fit();
        }
        uses
    }

    fn shared(&mut self, usage: Use) -> Arc<Use> {
        match &self.last {
            Some(last) if **last == usage => Arc::clone(last),
            _ => Arc::clone(self.last.insert(Arc::new(usage))),
        }
    }
}

/// The devices that are in use when an object is open.
fn devices(inventory: &Inventory, object: Object) -> Vec<DeviceId> {
    match object {
        Object::Device(device) => vec![device],
        Object::Group(group) => inventory.host().members_of(group).collect(),
    }
}
