//! Which of the permitted resources vfiod serves, and why the others are left alone.

use std::{fmt, str::FromStr};

/// What `--serve` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServeMode {
    /// From a KubeVirt CR the entries marked `externalResourceProvider: true`; from anything else, all.
    #[default]
    Auto,
    /// Only entries marked `externalResourceProvider: true`, whatever the document.
    External,
    /// Every entry, whatever the document.
    All,
}

/// A text that is no serve mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not auto, external or all")]
pub struct ParseServeModeError {
    text: String,
}

/// Why a resource is served, or is not.
///
/// KubeVirt's own device plugins serve a permitted resource unless its entry says `externalResourceProvider: true`
/// (KubeVirt: `pkg/virt-handler/device-manager/device_controller.go`); two servers of one name would fight over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// Served: `auto`, and the document is not a KubeVirt CR.
    OwnDocument,
    /// Served: the entry is marked `externalResourceProvider: true`.
    Marked,
    /// Not served: the entry is not marked, so somebody else serves it.
    Unmarked,
    /// Served: `--serve all`.
    Forced,
}

impl ServeMode {
    /// The decision on one resource.
    #[must_use]
    pub const fn decide(self, kubevirt: bool, external: bool) -> Serving {
        match (self, kubevirt, external) {
            (Self::All, ..) => Serving::Forced,
            (Self::Auto, false, _) => Serving::OwnDocument,
            (_, _, true) => Serving::Marked,
            (_, _, false) => Serving::Unmarked,
        }
    }
}

impl Serving {
    /// Whether the resource is served.
    #[must_use]
    pub const fn is_served(self) -> bool {
        !matches!(self, Self::Unmarked)
    }
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnDocument => "served (the document is not a KubeVirt CR)",
            Self::Marked => "served (externalResourceProvider is true)",
            Self::Unmarked => "not served (externalResourceProvider is not true: KubeVirt serves it)",
            Self::Forced => "served (--serve all)",
        })
    }
}

impl fmt::Display for ServeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::External => "external",
            Self::All => "all",
        })
    }
}

impl FromStr for ServeMode {
    type Err = ParseServeModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "external" => Ok(Self::External),
            "all" => Ok(Self::All),
            _ => Err(ParseServeModeError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_leaves_to_kubevirt_what_a_cr_does_not_mark() {
        for (mode, kubevirt, external, served) in [
            (ServeMode::Auto, true, true, true),
            (ServeMode::Auto, true, false, false),
            (ServeMode::Auto, false, true, true),
            (ServeMode::Auto, false, false, true),
            (ServeMode::External, true, true, true),
            (ServeMode::External, true, false, false),
            (ServeMode::External, false, true, true),
            (ServeMode::External, false, false, false),
            (ServeMode::All, true, true, true),
            (ServeMode::All, true, false, true),
            (ServeMode::All, false, false, true),
        ] {
            let decision = mode.decide(kubevirt, external);
            assert_eq!(decision.is_served(), served, "{mode} kubevirt={kubevirt} external={external}");
            assert_eq!(decision.to_string().starts_with("served"), served);
        }
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [ServeMode::Auto, ServeMode::External, ServeMode::All] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("AUTO".parse::<ServeMode>().is_err());
    }
}
