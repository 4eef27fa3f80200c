//! A permit as a text that outlives the process.

use super::Permit;
use std::fmt::Write as _;

impl Permit {
    /// What is permitted as a KubeVirt CR in JSON, which [`parse_object`](super::parse_object) reads back: the same
    /// resources with the same selectors, in the same order. Aliases and settings are no part of a CR.
    ///
    /// It holds what is in force, not what was written: where an entry went bad, its last good definition.
    #[must_use]
    pub fn to_object(&self) -> String {
        let entries = |key: &str, selectors: &dyn Fn(&super::Resource) -> Vec<String>| {
            let mut list = String::new();
            for resource in self.resources() {
                for selector in selectors(resource) {
                    let separator = if list.is_empty() { "" } else { "," };
                    let (selector, name) = (quoted(&selector), quoted(resource.name.as_str()));
                    let external = resource.external;
                    let _ = write!(
                        list,
                        "{separator}{{\"{key}\":{selector},\"resourceName\":{name},\"externalResourceProvider\":{external}}}"
                    );
                }
            }
            list
        };
        let pci = entries("pciVendorSelector", &|resource| resource.pci.iter().map(ToString::to_string).collect());
        let mdev = entries("mdevNameSelector", &|resource| resource.mdev.iter().cloned().collect());
        format!(
            "{{\"kind\":\"KubeVirt\",\"spec\":{{\"configuration\":{{\"permittedHostDevices\":{{\"pciHostDevices\":[{pci}],\"mediatedDevices\":[{mdev}]}}}}}}}}"
        )
    }
}

/// A text in the quotes of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // A selector holds no control character.
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
