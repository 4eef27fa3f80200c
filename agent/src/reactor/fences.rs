//! Containers that wait at the fence, and when each gets its answer.

use crate::plugin::{FenceAnswer, FenceQuery};
use std::time::Duration;
use tracing::{debug, info, warn};
use vfiod_core::{
    health::Reason,
    inventory::{Inventory, Unreleased},
    ownership::{Fence, Moment, PENDING_GRACE},
};

/// How long a container waits for the kubelet to name the owner of another member of its group: a claim that no pod
/// turns out to have is given up after [`PENDING_GRACE`].
const PATIENCE: Duration = PENDING_GRACE.saturating_add(Duration::from_secs(5));

/// How long a container waits to be sure that whoever has its devices open is of its own pod.
///
/// The kubelet writes its checkpoint after `Allocate` was answered (pkg/kubelet/cm/devicemanager/manager.go,
/// `devicesToAllocate`, `allocateContainerResources`): a look in between finds the pod that had the devices before, and its
/// process would be taken for the new pod's. `PreStartContainer` comes after the writing, so a look that begins then
/// tells. No source takes longer than a second.
const CERTAINTY: Duration = Duration::from_secs(3);

/// The containers that wait.
#[derive(Debug, Default)]
pub(super) struct Fences {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    query: FenceQuery,
    since: Moment,
    /// Until when it waits for what stands in its way now.
    until: Moment,
    /// Whether the log has said for whom it waits.
    told: bool,
}

impl Fences {
    /// Takes a query; answers it at once where what is known suffices. Returns whether ownership must be read for it.
    pub(super) fn ask(&mut self, query: FenceQuery, inventory: &Inventory, now: Moment) -> bool {
        let waits = self.waiting.len();
        self.consider(Waiting { query, since: now, until: now, told: false }, inventory, None, now);
        self.waiting.len() > waits
    }

    /// Decides again after ownership was read; `begun` is when that reading began.
    pub(super) fn owners_read(&mut self, inventory: &Inventory, begun: Moment, now: Moment) {
        self.review(inventory, Some(begun), now);
    }

    /// Decides again after anything happened, time included.
    pub(super) fn look(&mut self, inventory: &Inventory, now: Moment) {
        self.review(inventory, None, now);
    }

    /// Until when the first of them waits; `None` when nobody does.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    fn review(&mut self, inventory: &Inventory, begun: Option<Moment>, now: Moment) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.consider(waiting, inventory, begun, now);
        }
    }

    /// Answers one, or lets it wait on.
    fn consider(&mut self, waiting: Waiting, inventory: &Inventory, begun: Option<Moment>, now: Moment) {
        let Waiting { query, since, mut told, .. } = waiting;
        let decision = decide(&query, inventory);
        // Whoever came first may be gone: only a reading that begins now can tell.
        let fresh = begun.is_some_and(|begun| begun >= since);
        let patience = match &decision {
            FenceAnswer::Open if !fresh && inventory.are_open(&query.devices) => CERTAINTY,
            FenceAnswer::Open | FenceAnswer::Unusable(_) => Duration::ZERO,
            FenceAnswer::Shut(_) if fresh => Duration::ZERO,
            FenceAnswer::Shut(_) | FenceAnswer::Unknown(_) => PATIENCE,
            FenceAnswer::Held(_) => inventory.permit().settings().release_wait,
        };
        let until = since + patience;
        if now < until {
            if let FenceAnswer::Held(Unreleased { device, holder, .. }) = &decision
                && !std::mem::replace(&mut told, true)
            {
                info!(resource = %query.resource, %device, "a container waits: {holder}");
            }
            self.waiting.push(Waiting { query, since, until, told });
            return;
        }
        match decision {
            // Nobody is kept from starting for what is not proved.
            FenceAnswer::Held(Unreleased { proved: false, device, holder }) => {
                warn!(resource = %query.resource, %device, "a container starts although the device is {holder}: it may be of the same pod");
                answer(query, FenceAnswer::Open);
            }
            decision => {
                if decision == FenceAnswer::Open && now > since {
                    let waited = now.saturating_sub(since).as_millis();
                    debug!(resource = %query.resource, "a container starts after {waited} ms");
                }
                answer(query, decision);
            }
        }
    }
}

/// The answer as far as it is known now.
fn decide(query: &FenceQuery, inventory: &Inventory) -> FenceAnswer {
    if let Some(why) = unusable(query, inventory) {
        return FenceAnswer::Unusable(why);
    }
    match inventory.fence(query.resource.as_str(), &query.devices) {
        Fence::Open => {
            inventory.unreleased(query.resource.as_str(), &query.devices).map_or(FenceAnswer::Open, FenceAnswer::Held)
        }
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
