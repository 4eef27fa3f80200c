//! The host's lists of devices: what could never be read in full is not told, and is read again soon.

use std::{sync::Arc, time::Duration};
use tracing::{info, warn};
use vfiod_core::{allocator::Resource, ownership::Moment, permit::Permit};

/// The pause before a scan is repeated that could not read all; doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What one scan could read to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The list of PCI devices.
    pub(super) pci: bool,
    /// The list of mediated devices.
    pub(super) mdev: bool,
    /// The folders of device nodes.
    pub(super) nodes: bool,
}

/// Which lists are known, and the resources that wait for them.
///
/// An empty list says that a resource truly has no device; the kubelet then drops its capacity at once. So a resource
/// is not registered before the lists that feed it were read in full once.
#[derive(Debug)]
pub(super) struct Lists {
    pci: bool,
    mdev: bool,
    /// Whether the last scan could read all.
    complete: bool,
    pause: Duration,
    waiting: Vec<Arc<Resource>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { pci: false, mdev: false, complete: false, pause: FIRST_PAUSE, waiting: Vec::new() }
    }
}

impl Lists {
    /// Takes the outcome of a scan; returns how long to wait for the next one where this one could not read all.
    pub(super) fn scanned(&mut self, seen: Seen) -> Option<Duration> {
        self.pci |= seen.pci;
        self.mdev |= seen.mdev;
        self.complete = seen.pci && seen.mdev && seen.nodes;
        if self.complete {
            self.pause = FIRST_PAUSE;
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    /// Whether the last look at the whole host could read all of it.
    pub(super) const fn are_complete(&self) -> bool {
        self.complete
    }

    /// The resources that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &str> {
        self.waiting.iter().map(|resource| resource.name().as_str())
    }

    /// Takes resources that need an endpoint, and gives back those whose devices are known by now.
    pub(super) fn open(&mut self, opened: Vec<Arc<Resource>>, permit: &Permit) -> Vec<Arc<Resource>> {
        let before = self.waiting.len();
        let mut ready = Vec::new();
        for (place, resource) in std::mem::take(&mut self.waiting).into_iter().chain(opened).enumerate() {
            let Some(permitted) = permit.get(resource.name().as_str()) else { continue };
            let known = (self.pci || permitted.pci.is_empty()) && (self.mdev || permitted.mdev.is_empty());
            match (known, place < before) {
                (true, true) => {
                    info!(resource = %resource.name(), "its devices are known now");
                    ready.push(resource);
                }
                (true, false) => ready.push(resource),
                (false, old) => {
                    if !old {
                        warn!(resource = %resource.name(), "not registered before its devices can be listed");
                    }
                    self.waiting.push(resource);
                }
            }
        }
        ready
    }
}

/// The earlier of a planned moment and `pause` from now.
pub(super) fn sooner(planned: Moment, now: Moment, pause: Option<Duration>) -> Moment {
    pause.map_or(planned, |pause| planned.min(now + pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Seen = Seen { pci: true, mdev: true, nodes: true };

    #[test]
    fn what_cannot_be_read_is_read_again_with_growing_pauses() {
        let mut lists = Lists::default();
        let part = Seen { mdev: false, ..ALL };
        assert_eq!(lists.scanned(part), Some(FIRST_PAUSE));
        assert_eq!(lists.scanned(part), Some(FIRST_PAUSE * 2));
        for _ in 0..20 {
            lists.scanned(part);
        }
        assert_eq!(lists.scanned(part), Some(LONGEST_PAUSE));
        assert_eq!(lists.scanned(ALL), None);
        assert_eq!(lists.scanned(Seen { nodes: false, ..ALL }), Some(FIRST_PAUSE));
    }

    #[test]
    fn a_planned_scan_is_never_put_off() {
        let secs = Duration::from_secs;
        assert_eq!(sooner(secs(10), secs(5), Some(secs(1))), secs(6));
        assert_eq!(sooner(secs(10), secs(5), Some(secs(30))), secs(10));
        assert_eq!(sooner(secs(10), secs(5), None), secs(10));
    }
}
