//! What the loop says: to the log, and to the cluster where there is one.

use super::Node;
use crate::{config::Standing, reactor::channels::Channels};
use std::collections::{HashMap, HashSet};
use tracing::{info, warn};
use vfiod_core::{
    events::{Kind, Occurrence, Subject, occurrences},
    inventory::Outcome,
    ownership::{Claim, Reading, Source},
    permit::ResourceName,
};
use vfiod_proto::status::{DeviceList, DevicesReply};

impl Node {
    /// Logs each source of ownership that cannot be read once, as long as that lasts.
    pub(super) fn say_unavailable(&mut self, reading: &Reading) {
        let mut now = HashSet::new();
        for source in [&reading.checkpoint, &reading.pod_resources] {
            if let Source::Unavailable(reason) = source {
                now.insert(reason.clone());
            }
        }
        for reason in now.difference(&self.unavailable) {
            // Without a kubelet this is no news.
            if reading.kubelet_up.is_some() {
                warn!("{reason}; what is known of owners holds until it can be read");
            }
        }
        self.unavailable = now;
    }

    /// Hands over what the cluster is to be told; whoever cannot take it at once does not hold up the loop.
    pub(super) fn report(&self, outcome: &Outcome, channels: &Channels) {
        if channels.events.is_none() || outcome.transitions.is_empty() && outcome.overflows.is_empty() {
            return;
        }
        let owner = |resource: &ResourceName, device| {
            self.inventory.ledger().claim(resource.as_str(), device).and_then(Claim::owner).cloned()
        };
        occurrences(outcome, owner).into_iter().for_each(|occurrence| channels.tell(occurrence));
    }

    pub(super) fn report_rejected(&self, channels: &Channels) {
        let problems = self.config.problems();
        if !problems.is_empty() {
            let (kind, note) = (Kind::ConfigurationRejected, problems.join("; "));
            channels.tell(Occurrence { kind, subject: Subject::Node, note, pod: None });
        }
    }

    /// What is to be said beside the candidates of this host.
    pub(super) fn besides_devices(&self) -> DevicesReply {
        let mut faults: Vec<String> = self.faults.iter().map(|fault| format!("fault: {fault}")).collect();
        faults.sort();
        let kept = match self.config.standing() {
            Standing::Kept(reason) => Some(format!("{reason}; the last good configuration is in force")),
            Standing::Waiting => Some(format!("{} was not read yet, and is not remembered", self.config.name())),
            Standing::Current | Standing::Part(_) | Standing::Remembered => None,
        };
        let is_kept = matches!(self.config.standing(), Standing::Kept(_));
        let is_told = |problem: &&String| kept.as_ref().is_none_or(|kept| !kept.starts_with(problem.as_str()));
        let problems: Vec<String> = self.config.problems().iter().filter(is_told).cloned().collect();
        let count = u32::try_from(problems.len() + usize::from(is_kept)).unwrap_or(u32::MAX);
        DevicesReply {
            list: Some(DeviceList { complete: self.lists.are_complete(), ..DeviceList::default() }),
            notes: faults.into_iter().chain(problems).chain(kept).collect(),
            problems: count,
            configuration: self.config.name(),
        }
    }

    /// One line a resource, once at the start.
    pub(super) fn summary(&self) {
        let mut counts: HashMap<&ResourceName, [usize; 3]> = HashMap::new();
        for view in self.inventory.listed() {
            let [devices, healthy, owned] = counts.entry(view.resource).or_default();
            *devices += 1;
            *healthy += usize::from(view.slot.is_healthy());
            *owned += usize::from(view.claim.is_some());
        }
        for permitted in self.inventory.permit().served() {
            let [devices, healthy, owned] = counts.get(&permitted.name).copied().unwrap_or_default();
            info!(resource = %permitted.name, devices, healthy, owned, "found");
        }
    }
}
