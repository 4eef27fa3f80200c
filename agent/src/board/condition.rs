//! How the parts of the daemon are: what readiness is made of.

/// A part of the daemon that can be well or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Where the permits come from.
    Configuration,
    /// The API server, and the KubeVirt CR that it has.
    Cluster,
    /// The lists of the host's devices.
    Host,
    /// The kubelet's socket, and what is registered there.
    Kubelet,
    /// Who owns what: the kubelet's checkpoint and PodResources.
    Owners,
    /// Who has what open: the kernel's tables.
    Holders,
    /// The kernel probe.
    Probe,
    /// The reactor's event loop.
    EventLoop,
    /// The status socket.
    StatusSocket,
    /// What `--metrics` serves.
    Metrics,
    /// What `--listen` serves.
    Page,
}

/// Where the permits come from, and how what is in force stands to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Configured {
    /// One word for the source, "file" or "kubevirt".
    pub source: &'static str,
    /// "current", "part", "kept", "remembered" or "waiting".
    pub state: &'static str,
}

/// How a part is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing has been said yet.
    #[default]
    Unknown,
    /// As it should be; the text says how, where that is of interest.
    Good(String),
    /// Devices are served, but something is missing; the text says what and what would help.
    Degraded(String),
    /// Devices are not served as they should be; the text says why.
    Failing(String),
}

impl Part {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Cluster,
        Self::Host,
        Self::Kubelet,
        Self::Owners,
        Self::Holders,
        Self::Probe,
        Self::EventLoop,
        Self::StatusSocket,
        Self::Metrics,
        Self::Page,
    ];

    /// Its name, stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::Kubelet => "kubelet",
            Self::Owners => "owners",
            Self::Holders => "holders",
            Self::Probe => "probe",
            Self::EventLoop => "event-loop",
            Self::StatusSocket => "status-socket",
            Self::Metrics => "metrics",
            Self::Page => "page",
        }
    }

    /// Whether nothing can be served before this part has said that it is well.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Configuration | Self::Host | Self::Kubelet)
    }
}

impl Condition {
    /// Well, with nothing to add.
    #[must_use]
    pub const fn good() -> Self {
        Self::Good(String::new())
    }

    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good(_) => "good",
            Self::Degraded(_) => "degraded",
            Self::Failing(_) => "failing",
        }
    }

    /// What there is to say.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Unknown => "nothing is known yet",
            Self::Good(text) | Self::Degraded(text) | Self::Failing(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_own_place() {
        for (place, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, place, "{}", part.name());
        }
    }
}
