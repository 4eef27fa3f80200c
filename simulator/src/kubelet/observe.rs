//! Looking at a kubelet from outside, and waiting for it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::devices::Device;
use super::process::Kubelet;
use super::state::{Listing, State};

/// A condition that did not come true in time, with what the kubelet knew then. Prints the same with `{}` and `{:?}`, so
/// that an `unwrap` in a test reads well.
#[derive(Clone, thiserror::Error)]
#[error("after {waited:?} still not: {what}\n{state}")]
pub struct NotReached {
    what: String,
    waited: Duration,
    state: String,
}

impl fmt::Debug for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How often a condition is looked at when nothing changes: some depend on time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Kubelet {
    /// Waits until `condition` holds; `what` says it in words.
    ///
    /// # Errors
    /// [`NotReached`] when it does not hold after `within`.
    pub async fn wait_for(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&State) -> bool,
    ) -> Result<(), NotReached> {
        let begun = Instant::now();
        let mut changes = self.shared.changes();
        loop {
            if condition(&self.shared.read()) {
                return Ok(());
            }
            if begun.elapsed() >= within {
                let state = self.shared.read().to_string();
                return Err(NotReached { what: what.to_owned(), waited: begun.elapsed(), state });
            }
            let rest = within.saturating_sub(begun.elapsed()).min(LOOK_AGAIN);
            // Whether something changed or time passed: look again.
            let _ = tokio::time::timeout(rest, changes.changed()).await;
        }
    }

    /// Looks at what the kubelet knows, at one moment.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&self.shared.read())
    }

    /// See [`State::capacity`].
    pub fn capacity(&self, resource: &str) -> usize {
        self.look(|state| state.capacity(resource))
    }

    /// See [`State::allocatable`].
    pub fn allocatable(&self, resource: &str) -> usize {
        self.look(|state| state.allocatable(resource))
    }

    /// See [`State::devices`].
    pub fn devices(&self, resource: &str) -> BTreeMap<String, Device> {
        self.look(|state| state.devices(resource))
    }

    /// Successful registrations of the resource so far, over all restarts.
    pub fn registrations(&self, resource: &str) -> usize {
        self.look(|state| state.registrations(resource))
    }

    /// Every `ListAndWatch` message of the resource so far, over all restarts.
    pub fn watch(&self, resource: &str) -> Vec<Listing> {
        self.look(|state| state.listings(resource).to_vec())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = if self.sources_ready { "ready" } else { "not ready" };
        writeln!(f, "kubelet: started {} times, pod sources {sources}", self.starts)?;
        let names = self.registrations.iter().map(|r| &r.resource).chain(self.resources.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let connected = if self.is_connected(name) { "connected" } else { "not connected" };
            let (capacity, allocatable) = (self.capacity(name), self.allocatable(name));
            let (allocated, registered) = (self.allocated(name).len(), self.registrations(name));
            let messages = self.listings(name).len();
            writeln!(
                f,
                "  {name}: {connected}, capacity {capacity}, allocatable {allocatable}, allocated {allocated}, \
                 registered {registered} times, {messages} messages"
            )?;
            if let Some(refused) = self.registrations.iter().rev().find(|r| r.resource == *name && r.outcome.is_err()) {
                writeln!(f, "    last refused registration: {:?}", refused.outcome)?;
            }
            for (id, device) in self.devices(name).iter().take(16) {
                writeln!(f, "    {id} {:?} numa {:?}", device.health, device.numa)?;
            }
        }
        for pod in &self.cluster.pods {
            writeln!(f, "  pod {}/{} {}: {:?}", pod.spec.namespace, pod.spec.name, pod.spec.uid, pod.phase)?;
        }
        Ok(())
    }
}
