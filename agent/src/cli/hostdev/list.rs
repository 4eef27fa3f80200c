//! What `vfiod hostdev -o json` writes. Stable: `docs/VM.md` describes every field, and a test holds it to that.

use super::Outcome;
use crate::cli::machines::{FindingEntry, entries};
use serde::Serialize;
use vfiod_core::{
    hostdev::{Entry, HostDevice, Machine, Request},
    permit::Finding,
    variables::Carried,
};

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HostDeviceList {
    api_version: &'static str,
    kind: &'static str,
    machines: Vec<MachineEntry>,
    problems: Vec<FindingEntry>,
    notices: Vec<FindingEntry>,
}

impl HostDeviceList {
    /// The machines, and what is to be said of their documents.
    pub(super) fn of(outcomes: &[Outcome], problems: &[Finding], notices: &[Finding]) -> Self {
        Self {
            api_version: "vfiod.dev/v1",
            kind: "HostDeviceList",
            machines: outcomes.iter().map(MachineEntry::from).collect(),
            problems: entries(problems),
            notices: entries(notices),
        }
    }
}

/// One machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineEntry {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    starts: bool,
    requests: Vec<RequestEntry>,
    devices: Vec<DeviceEntry>,
    problems: Vec<FindingEntry>,
    notices: Vec<FindingEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestEntry {
    resource: String,
    units: u64,
    paths: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceEntry {
    path: String,
    name: String,
    resource: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    address: String,
    variable: String,
    alias: String,
    display: bool,
    ramfb: bool,
}

impl From<&Outcome> for MachineEntry {
    fn from(outcome: &Outcome) -> Self {
        let Outcome { machine, requests, assignment } = outcome;
        Self {
            kind: machine.kind.clone(),
            namespace: machine.namespace.clone(),
            name: machine.name.clone(),
            starts: outcome.starts(),
            requests: requests.requests.iter().map(|request| request_entry(machine, request)).collect(),
            devices: assignment.devices.iter().filter_map(|device| device_entry(machine, device)).collect(),
            problems: entries(&assignment.problems),
            notices: entries(&assignment.notices),
        }
    }
}

fn request_entry(machine: &Machine, request: &Request) -> RequestEntry {
    let paths = request.entries.iter().filter_map(|index| machine.entries.get(*index));
    RequestEntry {
        resource: request.resource.to_string(),
        units: request.units,
        paths: paths.map(|entry| entry.path.clone()).collect(),
    }
}

fn device_entry(machine: &Machine, device: &HostDevice) -> Option<DeviceEntry> {
    let entry: &Entry = machine.entries.get(device.entry)?;
    Some(DeviceEntry {
        path: entry.path.clone(),
        name: entry.name.clone(),
        resource: entry.resource().map(ToString::to_string),
        kind: match device.source.kind() {
            Carried::Pci => "pci",
            Carried::Mdev => "mdev",
            Carried::Usb => "usb",
        },
        address: device.source.to_string(),
        variable: device.variable.clone(),
        alias: device.alias.clone(),
        display: device.display,
        ramfb: device.ramfb,
    })
}
