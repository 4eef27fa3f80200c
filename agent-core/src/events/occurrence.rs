//! From what changed to what a cluster wants to know.

use super::Kind;
use crate::{
    device::{DeviceId, GroupId},
    health::{Health, Reason, Verdict},
    inventory::{Outcome, Transition},
    ownership::{Owner, Pod},
    permit::ResourceName,
};
use std::collections::BTreeMap;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Of which kind.
    pub kind: Kind,
    /// To what.
    pub subject: Subject,
    /// In words.
    pub note: String,
    /// Whom it concerns besides the node: the pod that owns the device, where its name and UID are known.
    pub pod: Option<Pod>,
}

/// To what something happened. Events about the same are one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A device.
    Device(DeviceId),
    /// An IOMMU group.
    Group(GroupId),
    /// A resource.
    Resource(ResourceName),
    /// Many devices at once, or the node as a whole.
    Node,
}

/// More devices than this, of one kind at one moment and of no pod, are told together.
const APART: usize = 5;

/// What of a settling the cluster is told; `owner` names who owns a device under a resource.
pub fn occurrences(
    outcome: &Outcome,
    mut owner: impl FnMut(&ResourceName, DeviceId) -> Option<Owner>,
) -> Vec<Occurrence> {
    let mut all = Vec::new();
    let mut crowds: BTreeMap<Kind, Vec<Occurrence>> = BTreeMap::new();
    for transition in &outcome.transitions {
        let Some((kind, verdict)) = kind_of(transition).zip(transition.now.as_ref()) else { continue };
        let pod = owner(&transition.resource, transition.device)
            .map(|owner| owner.pod)
            .filter(|pod| pod.name.is_some() && pod.uid.is_some());
        let occurrence =
            Occurrence { kind, subject: subject(transition, verdict), note: note(transition, verdict), pod };
        if occurrence.pod.is_some() {
            all.push(occurrence);
        } else {
            let crowd = crowds.entry(kind).or_default();
            // The members of a group that is not viable all say so.
            if !crowd.iter().any(|other| other.subject == occurrence.subject && kind == Kind::GroupNotViable) {
                crowd.push(occurrence);
            }
        }
    }
    for (kind, mut crowd) in crowds {
        if crowd.len() > APART {
            let first: Vec<&str> = crowd.iter().take(3).map(|one| one.note.as_str()).collect();
            let note = format!("{} at once: {}; and {} more", crowd.len(), first.join("; "), crowd.len() - first.len());
            crowd = vec![Occurrence { kind, subject: Subject::Node, note, pod: None }];
        }
        all.append(&mut crowd);
    }
    all.extend(outcome.overflows.iter().map(|overflow| Occurrence {
        kind: Kind::ListTooLong,
        subject: Subject::Resource(overflow.resource.clone()),
        note: format!(
            "the kubelet receives at most 4 MiB: of {} {} devices are listed, {} do not fit and are left out; spread them over several resource names",
            overflow.resource, overflow.listed, overflow.left_out
        ),
        pod: None,
    }));
    all
}

/// Of which kind a change is, if a cluster wants to know of it.
///
/// That a device is withheld because its group is in use, or cordoned by an administrator, is the usual course of things.
#[must_use]
pub fn kind_of(transition: &Transition) -> Option<Kind> {
    let kind = |verdict: &Verdict| match (&verdict.reason, verdict.health) {
        (Reason::NotViable(..), _) => Some(Kind::GroupNotViable),
        (Reason::Held(holder), _) if holder.stuck => Some(Kind::StuckHolder),
        (Reason::Held(_), _) => Some(Kind::ForeignHolder),
        (Reason::AerFatal, _) => Some(Kind::PciFatalError),
        (
            Reason::Removed
            | Reason::Unbound
            | Reason::HostDriver(_)
            | Reason::NoGroup
            | Reason::NoIommu(_)
            | Reason::NodeMissing(_),
            Health::Unhealthy,
        ) => Some(Kind::DeviceUnhealthy),
        _ => None,
    };
    let (before, now) = (transition.before.as_ref().and_then(kind), kind(transition.now.as_ref()?));
    let again = |verdict: &Option<Verdict>| verdict.as_ref().map(|verdict| (verdict.health, verdict.reason.code()));
    match (before, now) {
        // The same for another reason is news; the same with a detail changed is not.
        (Some(before), Some(now)) if before == now && again(&transition.before) == again(&transition.now) => None,
        (_, Some(now)) => Some(now),
        (Some(_), None) if transition.now.as_ref()?.health == Health::Healthy => Some(Kind::DeviceRecovered),
        (_, None) => None,
    }
}

fn subject(transition: &Transition, verdict: &Verdict) -> Subject {
    match verdict.reason {
        Reason::NotViable(group, _) => Subject::Group(group),
        _ => Subject::Device(transition.device),
    }
}

fn note(transition: &Transition, verdict: &Verdict) -> String {
    let Transition { device, resource, .. } = transition;
    let remedy = verdict.reason.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
    match &verdict.reason {
        Reason::NotViable(..) => format!("{}{remedy}", verdict.reason),
        _ => format!("{device} ({resource}) is {}: {}{remedy}", verdict.health, verdict.reason),
    }
}
