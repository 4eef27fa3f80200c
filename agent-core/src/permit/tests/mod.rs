//! Behaviour of whole documents.

mod documents;
mod hostile;

use super::*;
use crate::device::{Bdf, Binding, Device, Kind};

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
    device(Kind::Mdev { type_name: name.into(), type_id: "nvidia-222".into(), parent: "0000:3b:00.0".into() })
}

fn device(kind: Kind) -> Device {
    Device {
        id: Bdf::new(0, 0x3b, 0, 0).unwrap().into(),
        kind,
        binding: Binding::Vfio("vfio-pci".into()),
        group: Some(7),
        numa: None,
        cdevs: Vec::new(),
    }
}

/// A document that must be accepted without a problem.
fn good(text: &str) -> Parsed {
    let parsed = read(text);
    assert_eq!(parsed.problems, [], "{text}");
    parsed
}

fn read(text: &str) -> Parsed {
    parse(text, ServeMode::Auto).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// The names of all resources.
fn names(permit: &Permit) -> Vec<&str> {
    permit.resources().iter().map(|resource| resource.name.as_str()).collect()
}

fn resource_of(permit: &Permit, device: &Device) -> Option<String> {
    permit.resource_of(device).map(|resource| resource.name.to_string())
}
