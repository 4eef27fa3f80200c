//! Behaviour of whole documents.

mod beside;
mod conflicts;
mod documents;
mod durable;
mod entries;
mod generated;
mod hostile;
mod reloads;
mod serving;
mod settings;

use super::*;
use crate::device::{Bdf, Binding, Device, Kind, Mdev};

/// The document of KubeVirt's user guide, to the letter.
const SEED: &str = r#"configuration:
  permittedHostDevices:
    pciHostDevices:
    - pciVendorSelector: "10DE:1EB8"
      resourceName: "nvidia.com/TU104GL_Tesla_T4"
    - pciVendorSelector: "8086:6F54"
      resourceName: "intel.com/qat"
    mediatedDevices:
    - mdevNameSelector: "GRID T4-1Q"
      resourceName: "nvidia.com/GRID_T4-1Q"
"#;

fn pci(id: &str) -> Device {
    device(Kind::Pci { pci_id: id.parse().unwrap(), class: 0x03_0200, physfn: None })
}

fn mdev(name: &str) -> Device {
    device(Kind::Mdev(Box::new(Mdev {
        type_name: name.into(),
        type_id: "nvidia-222".into(),
        parent: "0000:3b:00.0".into(),
    })))
}

fn device(kind: Kind) -> Device {
    Device {
        id: Bdf::new(0, 0x3b, 0, 0).unwrap().into(),
        kind,
        binding: Binding::Vfio("vfio-pci".into()),
        group: Some(7),
        numa: None,
        cdevs: Default::default(),
    }
}

fn read(text: &str) -> Parsed {
    parse(text, ServeMode::Auto).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// A document that must be accepted without a problem.
fn good(text: &str) -> Parsed {
    let parsed = read(text);
    assert_eq!(parsed.problems, [], "{text}");
    parsed
}

/// The problem that rejects a document as a whole.
fn rejected(text: &str) -> String {
    match parse(text, ServeMode::Auto) {
        Err(problem) => problem.to_string(),
        Ok(parsed) => panic!("accepted, with {:?}:\n{}", parsed.problems, text.get(..500).unwrap_or(text)),
    }
}

/// All problems of a document that is not rejected as a whole.
fn problems(text: &str) -> Vec<String> {
    read(text).problems.iter().map(ToString::to_string).collect()
}

fn notices(text: &str) -> Vec<String> {
    good(text).notices.iter().map(ToString::to_string).collect()
}

/// The names of all resources.
fn names(permit: &Permit) -> Vec<&str> {
    permit.resources().iter().map(|resource| resource.name.as_str()).collect()
}

fn resource_of(permit: &Permit, device: &Device) -> Option<String> {
    permit.resource_of(device).map(|resource| resource.name.to_string())
}

/// vfiod's own configuration with these entries, in flow style: `selector resource` or `selector resource fields`. A
/// selector with a colon is a PCI one.
fn own(entries: &[&str]) -> String {
    let line = |entry: &&str| {
        let mut parts = entry.splitn(3, ' ');
        let (selector, resource) = (parts.next().unwrap(), parts.next().unwrap());
        let field = if selector.contains(':') { "pciVendorSelector" } else { "mdevNameSelector" };
        let more = parts.next().map(|more| format!(", {more}")).unwrap_or_default();
        format!("  - {{{field}: '{selector}', resourceName: '{resource}'{more}}}\n")
    };
    let (pci, mdev): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry.split(' ').next().unwrap().contains(':'));
    let list = |name: &str, entries: Vec<&&str>| {
        if entries.is_empty() {
            return String::new();
        }
        format!("  {name}:\n{}", entries.into_iter().map(line).collect::<String>())
    };
    format!("permittedHostDevices:\n{}{}", list("pciHostDevices", pci), list("mediatedDevices", mdev))
}
