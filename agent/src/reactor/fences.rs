//! Containers that wait at the fence, and when each gets its answer.

use crate::plugin::{FenceAnswer, FenceQuery};
use std::time::Duration;
use vfiod_core::{
    health::Reason,
    inventory::Inventory,
    ownership::{Fence, Moment, PENDING_GRACE},
};

/// How long a container waits for the kubelet to name the owner of another member of its group: a claim that no pod
/// turns out to have is given up after [`PENDING_GRACE`].
const PATIENCE: Duration = PENDING_GRACE.saturating_add(Duration::from_secs(5));

/// The containers that wait.
#[derive(Debug, Default)]
pub(super) struct Fences {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    query: FenceQuery,
    since: Moment,
}

impl Fences {
    /// Takes a query; answers it at once where what is known suffices. Returns whether ownership must be read for it.
    pub(super) fn ask(&mut self, query: FenceQuery, inventory: &Inventory, now: Moment) -> bool {
        let decision = decide(&query, inventory);
        // Whoever stands in the way may be gone: only a reading that begins now can tell.
        let wait = matches!(decision, FenceAnswer::Shut(_) | FenceAnswer::Unknown(_));
        if wait {
            self.waiting.push(Waiting { query, since: now });
        } else {
            answer(query, decision);
        }
        wait
    }

    /// Decides again after ownership was read; `begun` is when that reading began.
    pub(super) fn review(&mut self, inventory: &Inventory, begun: Moment, now: Moment) {
        for waiting in std::mem::take(&mut self.waiting) {
            let late = now >= waiting.since + PATIENCE;
            let fresh = begun >= waiting.since;
            let decision = decide(&waiting.query, inventory);
            let decided = match decision {
                FenceAnswer::Open | FenceAnswer::Unusable(_) => true,
                FenceAnswer::Shut(_) => fresh,
                FenceAnswer::Unknown(_) => false,
            };
            if decided || late {
                answer(waiting.query, decision);
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    /// Until when the eldest waits; `None` when nobody does.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waiting.iter().map(|waiting| waiting.since + PATIENCE).min()
    }
}

/// The answer as far as it is known now.
fn decide(query: &FenceQuery, inventory: &Inventory) -> FenceAnswer {
    if let Some(why) = unusable(query, inventory) {
        return FenceAnswer::Unusable(why);
    }
    match inventory.fence(query.resource.as_str(), &query.devices) {
        Fence::Open => FenceAnswer::Open,
        Fence::Shut(conflict) => FenceAnswer::Shut(conflict),
        Fence::Unknown(conflict) => FenceAnswer::Unknown(conflict),
    }
}

/// Why a device of the query can no longer be used. Its group's viability counts here even when it is owned: the
/// virtual machine would fail on it.
fn unusable(query: &FenceQuery, inventory: &Inventory) -> Option<String> {
    query.devices.iter().find_map(|&device| {
        let slot = inventory.slot(&query.resource, device)?;
        let reason = &slot.verdict().reason;
        let broken = reason.refuses() && !matches!(reason, Reason::GroupInUse { .. });
        broken.then(|| {
            let remedy = reason.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            format!("{device} of {} cannot be used: {reason}{remedy}", query.resource)
        })
    })
}

fn answer(query: FenceQuery, answer: FenceAnswer) {
    // A kubelet that no longer waits has lost nothing: it asks again.
    let _ = query.answer.send(answer);
}
