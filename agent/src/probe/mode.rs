//! Whether the probe is wanted.

use std::fmt;

/// Whether the probe is wanted (`--probe`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProbeMode {
    /// Where the host allows it; without it vfiod says what it cannot know.
    #[default]
    Auto,
    /// The probe, or fail.
    Require,
    /// Nothing is loaded into the kernel.
    Off,
}

impl fmt::Display for ProbeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        })
    }
}

/// One thing that the probe needs and this host does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What would give it.
    pub remedy: String,
}

impl Missing {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// There is no probe, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// `--probe off`.
    Off,
    /// The host does not allow it: everything that stands in the way, as far as it can be known beforehand.
    Missing(Vec<Missing>),
}

impl Absent {
    pub(super) fn one(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing(vec![Missing::new(what, remedy)])
    }

    /// Whether `mode` can do without the probe.
    #[must_use]
    pub const fn is_tolerated(mode: ProbeMode) -> bool {
        !matches!(mode, ProbeMode::Require)
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("the kernel probe is switched off (--probe off)"),
            Self::Missing(missing) => {
                f.write_str("there is no kernel probe: ")?;
                for (index, missing) in missing.iter().enumerate() {
                    write!(f, "{}{missing}", if index == 0 { "" } else { ". Also, " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Absent {}
