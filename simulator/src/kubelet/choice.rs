//! Which devices a container gets (manager.go, `devicesToAllocate`).

use std::collections::BTreeSet;

use super::calls::{Rpc, recorded};
use super::client::{Endpoint, describe};
use super::devices::Resource;
use super::state::{Shared, State};

/// A container's request for one resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) uid: &'a str,
    pub(super) container: &'a str,
    pub(super) resource: &'a str,
    pub(super) count: usize,
    /// It runs already: the kubelet is back after a restart, and leaves the container alone.
    pub(super) running: bool,
}

/// The devices to send in `Allocate`; none when the container has them already. They are marked as in use.
pub(super) async fn devices_to_allocate(
    shared: &Shared,
    wanted: Wanted<'_>,
    reusable: &BTreeSet<String>,
) -> Result<BTreeSet<String>, String> {
    let (mut choice, question) = match shared.update(|state| Choice::begin(state, wanted, reusable))? {
        Step::Done(devices) => return Ok(devices),
        Step::Ask(choice, question) => (choice, question),
    };
    // The kubelet lets go of its lock during this call.
    let preferred = match question.endpoint.filter(Endpoint::wants_preferred_allocation) {
        Some(endpoint) => {
            let call = endpoint.preferred_allocation(question.available, question.must_include, wanted.count);
            let preferred = |answer: Option<&Vec<String>>| answer.cloned().unwrap_or_default();
            let ids = recorded(shared, wanted.resource, Rpc::GetPreferredAllocation, preferred, call);
            ids.await
                .map_err(|e| format!("device plugin GetPreferredAllocation rpc failed with err: {}", describe(&e)))?
        }
        None => Vec::new(),
    };
    shared.update(|state| choice.finish(state, wanted.resource, &preferred))?;
    Ok(choice.taken)
}

enum Step {
    Done(BTreeSet<String>),
    Ask(Choice, Question),
}

struct Question {
    endpoint: Option<Endpoint>,
    available: Vec<String>,
    must_include: Vec<String>,
}

/// The devices taken so far, and where the rest may come from.
struct Choice {
    taken: BTreeSet<String>,
    needed: usize,
    required: usize,
    /// Preferred devices count only when they are in here.
    pool: BTreeSet<String>,
    /// What is used, in this order, when the preferred devices do not suffice.
    fallback: Vec<BTreeSet<String>>,
}

impl Choice {
    fn begin(state: &mut State, wanted: Wanted<'_>, reusable: &BTreeSet<String>) -> Result<Step, String> {
        let Wanted { uid, container, resource, count, .. } = wanted;
        let own = state.pod_devices.allocation(uid, container, resource).map(|allocation| allocation.ids());
        let needed = count - own.as_ref().map_or(0, |own| own.len().min(count));
        if let Some(own) = own.as_ref().filter(|own| own.len() != count) {
            let had = own.len();
            return Err(format!(
                "pod {uid:?} container {container:?} changed request for resource {resource:?} from {had} to {count}"
            ));
        }
        if !state.sources_ready && wanted.running {
            return Ok(Step::Done(BTreeSet::new()));
        }
        let Some(known) = state.resources.get(resource) else {
            return Err(format!("cannot allocate unregistered device {resource}"));
        };
        if known.healthy.is_empty() {
            return Err(format!("no healthy devices present; cannot allocate unhealthy devices {resource}"));
        }
        if own.is_some_and(|own| !own.is_subset(&known.healthy)) {
            return Err(format!(
                "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
            ));
        }
        let mut choice =
            Self { taken: BTreeSet::new(), needed, required: count, pool: BTreeSet::new(), fallback: Vec::new() };
        if needed == 0 || choice.take(state, resource, reusable) {
            return Ok(Step::Done(choice.taken));
        }
        choice.ask(state, resource)
    }

    /// What the plugin is asked, once the re-usable devices are taken. Without a hint of the topology manager it is
    /// asked even when all available devices are needed; with one, only when there are more aligned devices than needed
    /// or too few of them.
    fn ask(mut self, state: &mut State, resource: &str) -> Result<Step, String> {
        let in_use = state.allocated.get(resource).cloned().unwrap_or_default();
        let empty = Resource::default();
        let known = state.resources.get(resource).unwrap_or(&empty);
        let available: BTreeSet<String> = known.healthy.difference(&in_use).cloned().collect();
        if available.len() < self.needed {
            let (needed, available) = (self.needed, available.len());
            return Err(format!(
                "requested number of devices unavailable for {resource}. Requested: {needed}, Available: {available}"
            ));
        }
        let by_affinity = ByAffinity::of(known, &available, state.affinity.as_deref());
        let endpoint = state.endpoints.get(resource).cloned();
        let asked_for = if self.needed < by_affinity.aligned.len() {
            self.fallback = vec![by_affinity.aligned.clone()];
            by_affinity.aligned
        } else {
            if self.take(state, resource, &by_affinity.aligned) {
                return Ok(Step::Done(self.taken));
            }
            self.fallback = vec![by_affinity.unaligned, by_affinity.without];
            available
        };
        if endpoint.is_none() {
            return Err(format!("endpoint not found in cache for a registered resource: {resource}"));
        }
        let question = Question {
            endpoint,
            available: asked_for.union(&self.taken).cloned().collect(),
            must_include: self.taken.iter().cloned().collect(),
        };
        self.pool = asked_for;
        Ok(Step::Ask(self, question))
    }

    fn finish(&mut self, state: &mut State, resource: &str, preferred: &[String]) -> Result<(), String> {
        let preferred: BTreeSet<_> = preferred.iter().filter(|id| self.pool.contains(*id)).cloned().collect();
        let mut sources = vec![preferred];
        sources.append(&mut self.fallback);
        if sources.iter().any(|source| self.take(state, resource, source)) {
            return Ok(());
        }
        let (required, got) = (self.required, self.taken.len());
        Err(format!("unexpectedly allocated less resources than required. Requested: {required}, Got: {got}"))
    }

    /// Takes from `source` and marks as in use; true when no more is needed.
    fn take(&mut self, state: &mut State, resource: &str, source: &BTreeSet<String>) -> bool {
        let in_use = state.allocated.entry(resource.to_owned()).or_default();
        for id in source {
            if self.needed > 0 && self.taken.insert(id.clone()) {
                in_use.insert(id.clone());
                self.needed -= 1;
            }
        }
        self.needed == 0
    }
}

/// The available devices by their relation to the hint (manager.go, `filterByAffinity`).
struct ByAffinity {
    aligned: BTreeSet<String>,
    unaligned: BTreeSet<String>,
    without: BTreeSet<String>,
}

impl ByAffinity {
    fn of(known: &Resource, available: &BTreeSet<String>, hint: Option<&[i64]>) -> Self {
        let mut sets = Self { aligned: BTreeSet::new(), unaligned: BTreeSet::new(), without: BTreeSet::new() };
        let hint = hint.filter(|_| known.has_topology());
        for id in available {
            let numa = known.numa(id);
            let set = match hint {
                Some(hint) if numa.iter().any(|node| hint.contains(node)) => &mut sets.aligned,
                Some(_) if !numa.is_empty() => &mut sets.unaligned,
                _ => &mut sets.without,
            };
            set.insert(id.clone());
        }
        sets
    }
}
