//! What `vfiod vmi check -o json` writes. Stable: `docs/VM.md` describes every field, and a test holds it to that.

use super::admission::{Candidate, Supply, Trial};
use crate::cli::machines::{FindingEntry, entries};
use serde::Serialize;
use vfiod_core::permit::Finding;

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineCheck {
    api_version: &'static str,
    kind: &'static str,
    machines: Vec<MachineEntry>,
    problems: Vec<FindingEntry>,
    notices: Vec<FindingEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineEntry {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    starts: bool,
    devices: Vec<AssignedEntry>,
    resources: Vec<ResourceEntry>,
    problems: Vec<FindingEntry>,
    notices: Vec<FindingEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignedEntry {
    path: String,
    name: String,
    resource: Option<String>,
    address: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceEntry {
    resource: String,
    units: u64,
    free: usize,
    candidates: Vec<CandidateEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateEntry {
    id: String,
    numa_node: Option<u32>,
    free: bool,
    chosen: bool,
    health: String,
    reason: &'static str,
    message: String,
    next_step: Option<String>,
}

impl MachineCheck {
    /// The machines, and what is to be said of their documents.
    pub(super) fn of(trials: &[Trial], problems: &[Finding], notices: &[Finding]) -> Self {
        Self {
            api_version: "vfiod.dev/v1",
            kind: "MachineCheck",
            machines: trials.iter().map(machine).collect(),
            problems: entries(problems),
            notices: entries(notices),
        }
    }
}

fn machine(trial: &Trial) -> MachineEntry {
    let devices = trial.assignment.devices.iter().filter(|_| trial.starts()).filter_map(|device| {
        let entry = trial.machine.entries.get(device.entry)?;
        Some(AssignedEntry {
            path: entry.path.clone(),
            name: entry.name.clone(),
            resource: entry.resource().map(ToString::to_string),
            address: device.source.to_string(),
        })
    });
    MachineEntry {
        kind: trial.machine.kind.clone(),
        namespace: trial.machine.namespace.clone(),
        name: trial.machine.name.clone(),
        starts: trial.starts(),
        devices: devices.collect(),
        resources: trial.resources.iter().map(resource).collect(),
        problems: entries(&trial.problems),
        notices: entries(&trial.notices),
    }
}

fn resource(supply: &Supply) -> ResourceEntry {
    ResourceEntry {
        resource: supply.name.clone(),
        units: supply.wanted,
        free: supply.free(),
        candidates: supply.devices.iter().map(candidate).collect(),
    }
}

fn candidate(candidate: &Candidate) -> CandidateEntry {
    let Candidate { id, numa, free, chosen, verdict } = candidate;
    CandidateEntry {
        id: id.to_string(),
        numa_node: *numa,
        free: *free,
        chosen: *chosen,
        health: verdict.health.to_string(),
        reason: verdict.reason.code(),
        message: verdict.reason.to_string(),
        next_step: verdict.reason.remedy(),
    }
}
