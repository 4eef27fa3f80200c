//! Behaviour of the consumer's side, on documents and environments as people and plugins write them.

mod assigning;
mod displays;
mod documents;
mod environments;
mod generated;
mod requesting;
mod writing;

use super::*;
use crate::{
    permit::{Finding, Parsed, ServeMode},
    variables::EnvNames,
};

/// The last block of KubeVirt's page on host devices, to the letter.
const SEED: &str = "kind: VirtualMachineInstance
spec:
  domain:
    devices:
      gpus:
      - deviceName: nvidia.com/TU104GL_Tesla_T4
        name: gpu1
      - deviceName: nvidia.com/GRID_T4-1Q
        name: gpu2
      hostDevices:
      - deviceName: intel.com/qat
        name: quickaccess1
";

/// What the other blocks of that page make of it.
const SEED_ENV: &str = "PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4=0000:3b:00.0
PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4=0000:3b:00.0
PCI_RESOURCE_INTEL_COM_QAT=0000:65:00.0
MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
";

/// A machine with entries `name=resource` in each list, in flow style.
fn vmi(gpus: &[&str], host_devices: &[&str]) -> String {
    let list = |name: &str, entries: &[&str]| {
        let entry = |entry: &&str| {
            let (name, rest) = entry.split_once('=').unwrap();
            let (resource, more) = rest.split_once(' ').unwrap_or((rest, ""));
            format!("      - {{name: {name}, deviceName: {resource}{more}}}\n")
        };
        let entries: String = entries.iter().map(entry).collect();
        if entries.is_empty() { String::new() } else { format!("      {name}:\n{entries}") }
    };
    let lists = list("gpus", gpus) + &list("hostDevices", host_devices);
    format!("kind: VirtualMachineInstance\nspec:\n  domain:\n    devices:\n      tpm: {{}}\n{lists}")
}

/// All machines of a text that is accepted.
fn read(text: &str) -> Machines {
    machines(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// The only machine of a text without a problem.
fn machine(text: &str) -> Machine {
    let mut read = read(text);
    assert_eq!(told(&read.problems), Vec::<String>::new(), "{text}");
    assert_eq!(read.machines.len(), 1);
    read.machines.remove(0)
}

fn environment(text: &str) -> Environment {
    Environment::parse(text).unwrap()
}

/// What virt-launcher makes of it.
fn launched(document: &str, env: &str) -> Assignment {
    assign(&machine(document), &environment(env), EnvNames::KubeVirt, None)
}

/// `name address` of each device, in the order of the domain.
fn devices(assignment: &Assignment) -> Vec<String> {
    assignment.devices.iter().map(|device| format!("{} {}", device.alias, device.source)).collect()
}

/// The devices of a machine that starts.
fn started(document: &str, env: &str) -> Vec<String> {
    let assignment = launched(document, env);
    assert_eq!(told(&assignment.problems), Vec::<String>::new());
    devices(&assignment)
}

/// Why it does not start.
fn failures(document: &str, env: &str) -> Vec<String> {
    told(&launched(document, env).problems)
}

fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| finding.message().to_string()).collect()
}

fn config(text: &str) -> Parsed {
    crate::permit::parse(text, ServeMode::All).unwrap()
}
