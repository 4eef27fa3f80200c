//! What virt-launcher finds in a container's environment.
//!
//! KubeVirt: `pkg/virt-launcher/virtwrap/device/hostdevice/addresspool.go`, `NewAddressPool`; the name of the variable is
//! made by `pkg/util/util.go`, `ResourceNameToEnvVar`.

use std::collections::HashMap;
use vfiod_core::device::DeviceId;

/// The kinds of variables that virt-launcher reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pci,
    Mdev,
    Usb,
}

/// One variable of the family, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) kind: Kind,
    /// The whole name.
    pub(super) name: String,
    /// The part after the prefix.
    pub(super) resource: String,
    pub(super) value: String,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Pci, Self::Mdev, Self::Usb];

    /// The prefix of its variables (KubeVirt: `staging/src/kubevirt.io/api/core/v1/types.go`, `PCIResourcePrefix`,
    /// `MDevResourcePrefix`, `USBResourcePrefix`).
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Pci => "PCI_RESOURCE_",
            Self::Mdev => "MDEV_PCI_RESOURCE_",
            Self::Usb => "USB_RESOURCE_",
        }
    }

    /// What its values are.
    pub(super) const fn values(self) -> &'static str {
        match self {
            Self::Pci => "PCI addresses",
            Self::Mdev => "mdev UUIDs",
            Self::Usb => "USB bus:device pairs",
        }
    }
}

/// The variables of the family, sorted by name.
pub(super) fn variables(envs: &HashMap<String, String>) -> Vec<Variable> {
    let mut found: Vec<Variable> = envs
        .iter()
        .filter_map(|(name, value)| {
            let (kind, resource) =
                Kind::ALL.iter().find_map(|kind| Some((*kind, name.strip_prefix(kind.prefix())?)))?;
            Some(Variable { kind, name: name.clone(), resource: resource.to_owned(), value: value.clone() })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The part of the name that KubeVirt makes of a resource: upper case throughout, `/` and `.` as `_`, `-` stays.
pub(super) fn spelled(resource: &str) -> String {
    resource.replace(['/', '.'], "_").to_uppercase()
}

/// The variables from which virt-launcher takes the devices of `resource`. Of a resource without a known name: one of
/// each kind, whatever the spelling.
pub(super) fn read_by_launcher(envs: &HashMap<String, String>, resource: Option<&str>) -> Vec<Variable> {
    let mut found = variables(envs);
    match resource {
        Some(resource) => found.retain(|variable| variable.resource == spelled(resource)),
        None => {
            let mut seen = Vec::new();
            found.retain(|variable| {
                let first = !seen.contains(&variable.kind.prefix());
                seen.push(variable.kind.prefix());
                first
            });
        }
    }
    found
}

/// The addresses of a value: as virt-launcher splits it, one trailing comma dropped.
pub(super) fn split(value: &str) -> Vec<&str> {
    value.strip_suffix(',').unwrap_or(value).split(',').collect()
}

/// What kind of address a text is.
pub(super) fn kind_of(text: &str) -> Option<Kind> {
    if let Ok(device) = text.parse::<DeviceId>() {
        return Some(if device.is_mdev() { Kind::Mdev } else { Kind::Pci });
    }
    let (bus, device) = text.split_once(':')?;
    let number = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    (number(bus) && number(device)).then_some(Kind::Usb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_longest_prefix_is_the_kind() {
        let found = variables(&envs(&[("MDEV_PCI_RESOURCE_A", "u"), ("PCI_RESOURCE_A", "b"), ("PATH", "/bin")]));
        let kinds: Vec<_> = found.iter().map(|variable| (variable.kind, variable.resource.as_str())).collect();
        assert_eq!(kinds, [(Kind::Mdev, "A"), (Kind::Pci, "A")]);
    }

    #[test]
    fn only_kubevirts_own_spelling_is_read_of_a_known_resource() {
        let envs = envs(&[("PCI_RESOURCE_INTEL_COM_QAT", "x"), ("PCI_RESOURCE_INTEL_COM_qat", "x")]);
        let names =
            |resource| read_by_launcher(&envs, resource).into_iter().map(|variable| variable.name).collect::<Vec<_>>();
        assert_eq!(names(Some("intel.com/qat")), ["PCI_RESOURCE_INTEL_COM_QAT"]);
        assert_eq!(names(None).len(), 1, "two spellings of one variable are one");
        assert!(names(Some("intel.com/other")).is_empty());
    }

    #[test]
    fn addresses_are_told_from_other_texts() {
        for (text, kind) in [
            ("0000:3b:00.0", Some(Kind::Pci)),
            ("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", Some(Kind::Mdev)),
            ("001:014", Some(Kind::Usb)),
            ("3b:00.0", None),
            (" 0000:3b:00.0", None),
            ("0000:3b:00.0 ", None),
            ("", None),
            ("1:2:3", None),
            ("GPU-0", None),
        ] {
            assert_eq!(kind_of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn one_trailing_comma_is_dropped_and_no_second_one() {
        assert_eq!(split("a,b,"), ["a", "b"]);
        assert_eq!(split("a,,"), ["a", ""]);
        assert_eq!(split(""), [""]);
    }
}
