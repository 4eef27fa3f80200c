//! vfiod's own settings, which stand beside the permits in its own configuration.

use super::{
    fields::Field,
    finding::{Problem, good},
    yaml::Value,
};
use crate::variables::EnvNames;
use std::time::Duration;

/// vfiod's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `envNames`: which spellings of a variable are set.
    pub env_names: EnvNames,
    /// `allowNoIommu`: whether PCI devices without an IOMMU behind them may be handed out. They can write to all of the
    /// host's memory.
    pub allow_no_iommu: bool,
    /// `preStart.releaseWait`: how long `PreStartContainer` waits for a device to be released.
    pub release_wait: Duration,
}

/// The longest `preStart.releaseWait`: below the 30 s after which the kubelet gives a `PreStartContainer` call up
/// (Kubernetes: `KubeletPreStartContainerRPCTimeoutInSecs` in `k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1`).
pub const RELEASE_WAIT_MAX: Duration = Duration::from_secs(25);

impl Default for Settings {
    fn default() -> Self {
        Self { env_names: EnvNames::Both, allow_no_iommu: false, release_wait: Duration::from_secs(20) }
    }
}

/// The names of the settings at the top level of vfiod's own configuration.
pub(super) const SETTING_FIELDS: [&str; 3] = ["envNames", "allowNoIommu", "preStart"];

/// Settings as they were read: `None` stands for one that is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    env_names: Option<EnvNames>,
    allow_no_iommu: Option<bool>,
    release_wait: Option<Duration>,
    /// A setting that cannot be told: an unknown field.
    unknown: bool,
}

impl Read {
    /// The settings of a document that has none.
    pub(super) fn absent() -> Self {
        let Settings { env_names, allow_no_iommu, release_wait } = Settings::default();
        Self {
            env_names: Some(env_names),
            allow_no_iommu: Some(allow_no_iommu),
            release_wait: Some(release_wait),
            unknown: false,
        }
    }

    /// Whether every setting is good.
    pub(super) const fn is_good(&self) -> bool {
        self.env_names.is_some() && self.allow_no_iommu.is_some() && self.release_wait.is_some() && !self.unknown
    }

    /// The settings, with those of `fallback` where one is bad.
    pub(super) fn or(&self, fallback: &Settings) -> Settings {
        Settings {
            env_names: self.env_names.unwrap_or(fallback.env_names),
            allow_no_iommu: self.allow_no_iommu.unwrap_or(fallback.allow_no_iommu),
            release_wait: self.release_wait.unwrap_or(fallback.release_wait),
        }
    }

    /// Notes that the document has a field that nobody knows.
    pub(super) fn has_unknown_field(&mut self) {
        self.unknown = true;
    }
}

/// Reads the settings from the top level of vfiod's own configuration.
pub(super) fn read(root: &Field, problems: &mut Vec<Problem>) -> Read {
    let mut read = Read::absent();
    if let Some(field) = root.get("envNames") {
        read.env_names = good(env_names(&field), problems);
    }
    if let Some(field) = root.get("allowNoIommu") {
        read.allow_no_iommu = good(field.boolean(), problems);
    }
    let Some(pre_start) = root.get_some("preStart") else { return read };
    if good(pre_start.expect_map(), problems).is_none() {
        read.release_wait = None;
        return read;
    }
    for unknown in pre_start.unknown(&["releaseWait"]) {
        read.has_unknown_field();
        problems.push(unknown.problem());
    }
    if let Some(field) = pre_start.get("releaseWait") {
        read.release_wait = good(release_wait(&field), problems);
    }
    read
}

fn env_names(field: &Field) -> Result<EnvNames, Problem> {
    field.text()?.parse().map_err(|_| field.bad_value("is no choice of names", "write both, kubevirt or seed"))
}

fn release_wait(field: &Field) -> Result<Duration, Problem> {
    const REMEDY: &str = "write a duration with its unit, above 0 and at most 25s, as in 20s";
    let Value::Scalar { text, .. } = &field.node.value else {
        return Err(field.problem(format!("is {}", field.node.noun()), REMEDY));
    };
    match humantime::parse_duration(text) {
        Ok(wait) if wait.is_zero() => Err(field.bad_value("is no time at all", REMEDY)),
        Ok(wait) if wait > RELEASE_WAIT_MAX => {
            Err(field.bad_value("is too long: the kubelet gives the call up after 30 s", REMEDY))
        }
        Ok(wait) => Ok(wait),
        Err(_) => Err(field.bad_value("is not a duration", REMEDY)),
    }
}
