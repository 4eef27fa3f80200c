//! Environment variables that carry allocated devices into the container of virt-launcher.
//!
//! KubeVirt builds the name of a variable from the name of the resource: upper case throughout, `/` and `.` as `_`, `-`
//! stays (`pkg/util/util.go`, `ResourceNameToEnvVar`). Its user guide shows another spelling, which keeps the case of the
//! part after `/`. Both are set unless [`EnvNames`] says otherwise.

use crate::resource_name::ResourceName;
use std::{fmt, str::FromStr};

/// Prefix of the variables that carry PCI addresses.
pub const PCI_PREFIX: &str = "PCI_RESOURCE";
/// Prefix of the variables that carry mdev UUIDs.
pub const MDEV_PREFIX: &str = "MDEV_PCI_RESOURCE";
/// Prefix of the variables that carry the bus and number of USB devices.
pub const USB_PREFIX: &str = "USB_RESOURCE";

/// Which spellings of a variable are set (`envNames`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvNames {
    /// Both, where they differ.
    #[default]
    Both,
    /// Only the one that KubeVirt's code reads.
    KubeVirt,
    /// Only the one that KubeVirt's user guide shows.
    Seed,
}

/// A text that is no choice of spellings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not both, kubevirt or seed")]
pub struct ParseEnvNamesError {
    text: String,
}

/// What a variable carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carried {
    /// PCI addresses.
    Pci,
    /// mdev UUIDs.
    Mdev,
    /// Bus and number of USB devices.
    Usb,
}

impl Carried {
    /// The prefix of its variables.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Pci => PCI_PREFIX,
            Self::Mdev => MDEV_PREFIX,
            Self::Usb => USB_PREFIX,
        }
    }
}

/// The names of all variables that carry one kind of device of a resource: the spellings first, then the aliases; each
/// name once.
#[must_use]
pub fn variables(resource: &ResourceName, kind: Carried, spellings: EnvNames, aliases: &[String]) -> Vec<String> {
    let mut names = Vec::with_capacity(2 + aliases.len());
    if spellings != EnvNames::Seed {
        names.push(kubevirt_spelling(resource, kind));
    }
    if spellings != EnvNames::KubeVirt {
        names.push(seed_spelling(resource, kind));
    }
    names.extend(aliases.iter().filter(|alias| alias_carries(alias, kind)).cloned());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The name that KubeVirt's code reads: `PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4`.
#[must_use]
pub fn kubevirt_spelling(resource: &ResourceName, kind: Carried) -> String {
    format!("{}_{}", kind.prefix(), underscored(resource.as_str()).to_ascii_uppercase())
}

/// The name that KubeVirt's user guide shows: `PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4`.
#[must_use]
pub fn seed_spelling(resource: &ResourceName, kind: Carried) -> String {
    let (domain, name) = resource.parts();
    format!("{}_{}_{}", kind.prefix(), underscored(domain).to_ascii_uppercase(), underscored(name))
}

/// Whether an alias carries this kind: one that begins with `MDEV_` carries mdevs, one that begins with `PCI_RESOURCE`
/// carries PCI devices, and any other carries both.
#[must_use]
pub fn alias_carries(alias: &str, kind: Carried) -> bool {
    if alias.starts_with("MDEV_") {
        kind == Carried::Mdev
    } else if alias.starts_with(PCI_PREFIX) {
        kind == Carried::Pci
    } else {
        true
    }
}

/// Whether Kubernetes takes this as the name of a variable
/// (Kubernetes: `IsEnvVarName` in `k8s.io/apimachinery/pkg/util/validation`).
#[must_use]
pub fn is_env_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        && name.bytes().all(allowed)
        && name != "."
        && !name.starts_with("..")
}

fn underscored(text: &str) -> String {
    text.replace(['/', '.'], "_")
}

impl fmt::Display for EnvNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Both => "both",
            Self::KubeVirt => "kubevirt",
            Self::Seed => "seed",
        })
    }
}

impl FromStr for EnvNames {
    type Err = ParseEnvNamesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "both" => Ok(Self::Both),
            "kubevirt" => Ok(Self::KubeVirt),
            "seed" => Ok(Self::Seed),
            _ => Err(ParseEnvNamesError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    #[test]
    fn both_spellings_where_they_differ_and_one_where_not() {
        use Carried::{Mdev, Pci};
        for (resource, kind, expected) in [
            (
                "nvidia.com/TU104GL_Tesla_T4",
                Pci,
                vec!["PCI_RESOURCE_NVIDIA_COM_TU104GL_TESLA_T4", "PCI_RESOURCE_NVIDIA_COM_TU104GL_Tesla_T4"],
            ),
            ("intel.com/qat", Pci, vec!["PCI_RESOURCE_INTEL_COM_QAT", "PCI_RESOURCE_INTEL_COM_qat"]),
            ("nvidia.com/GRID_T4-1Q", Mdev, vec!["MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q"]),
            ("a-b.c/D.E", Pci, vec!["PCI_RESOURCE_A-B_C_D_E"]),
        ] {
            assert_eq!(variables(&name(resource), kind, EnvNames::Both, &[]), expected);
        }
    }

    #[test]
    fn one_spelling_alone_can_be_chosen() {
        let t4 = name("nvidia.com/Tesla");
        let only = |spelling| variables(&t4, Carried::Pci, spelling, &[]);
        assert_eq!(only(EnvNames::KubeVirt), ["PCI_RESOURCE_NVIDIA_COM_TESLA"]);
        assert_eq!(only(EnvNames::Seed), ["PCI_RESOURCE_NVIDIA_COM_Tesla"]);
        for choice in [EnvNames::Both, EnvNames::KubeVirt, EnvNames::Seed] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("Both".parse::<EnvNames>().is_err());
    }

    #[test]
    fn an_alias_carries_what_its_prefix_says() {
        let aliases = ["PCI_RESOURCE_INTEL_QAT", "MDEV_PCI_RESOURCE_Q", "QAT_DEVICES", "PCI_RESOURCE_INTEL_COM_QAT"]
            .map(String::from);
        let of = |kind| variables(&name("intel.com/QAT"), kind, EnvNames::Both, &aliases);
        assert_eq!(of(Carried::Pci), ["PCI_RESOURCE_INTEL_COM_QAT", "PCI_RESOURCE_INTEL_QAT", "QAT_DEVICES"]);
        assert_eq!(of(Carried::Mdev), ["MDEV_PCI_RESOURCE_INTEL_COM_QAT", "MDEV_PCI_RESOURCE_Q", "QAT_DEVICES"]);
    }

    #[test]
    fn names_of_variables_follow_kubernetes() {
        for good in ["A", "_a", "PCI_RESOURCE_INTEL_QAT", "MDEV_PCI_RESOURCE_NVIDIA_COM_GRID_T4-1Q", ".a", "-a"] {
            assert!(is_env_name(good), "{good}");
        }
        for bad in ["", "1A", "A B", "A=B", ".", "..", "..a", "Ä", "A\0"] {
            assert!(!is_env_name(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_resource_yields_valid_names_that_begin_with_the_prefix(
            text in "[a-z]{1,8}(\\.[a-z][a-z-]{0,7}[a-z]){0,3}/[A-Za-z0-9]([-_.A-Za-z0-9]{0,20}[A-Za-z0-9])?",
        ) {
            let resource = name(&text);
            for kind in [Carried::Pci, Carried::Mdev] {
                let names = variables(&resource, kind, EnvNames::Both, &[]);
                prop_assert!(names.iter().all(|n| is_env_name(n) && n.starts_with(kind.prefix())));
                let upper: Vec<_> = names.iter().map(|n| n.to_ascii_uppercase()).collect();
                prop_assert!(upper.iter().all(|n| *n == upper[0]), "spellings differ in case alone");
            }
        }
    }
}
