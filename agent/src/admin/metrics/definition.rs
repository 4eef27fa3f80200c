//! What a metric is: its name, what it means, and by what it is told apart.

use prometheus_client::{metrics::MetricType, registry::Unit};

/// One metric.
#[derive(Debug)]
pub struct Definition {
    /// Its name, without the unit and the suffix that its kind adds.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit.
    pub unit: Option<Measure>,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Kinds of metrics, as OpenMetrics names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until vfiod starts anew.
    Counter,
    /// Durations in buckets.
    Histogram,
    /// Always 1: its labels say it.
    Info,
}

/// Units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Definition {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit: None, labels, help }
    }

    pub(super) const fn measured(self, unit: Measure) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// The name of its samples, as queries say it; of a histogram, what `_bucket`, `_sum` and `_count` follow.
    #[must_use]
    pub fn sample(&self) -> String {
        let unit = self.unit().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }

    /// What stands in its `TYPE` line.
    #[must_use]
    pub fn family(&self) -> String {
        let unit = self.unit().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        format!("{}{unit} {}", self.name, self.kind.word())
    }

    pub(super) const fn unit(&self) -> Option<Unit> {
        match self.unit {
            None => None,
            Some(Measure::Seconds) => Some(Unit::Seconds),
            Some(Measure::Bytes) => Some(Unit::Bytes),
        }
    }
}

impl Kind {
    /// As it stands in a `TYPE` line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    pub(super) const fn of(self) -> MetricType {
        match self {
            Self::Gauge => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}
