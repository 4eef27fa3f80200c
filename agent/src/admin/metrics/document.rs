//! `docs/METRICS.md`, made from the definitions.

use super::{ALL, Kind};
use crate::board::{BOUNDS_NS, Part, Refused};
use std::{fmt::Write as _, time::Duration};

/// The whole document.
#[must_use]
pub fn document() -> String {
    let mut text = "# Metrics\n\n\
        <!-- Made by `VFIOD_RECORD=1 cargo test -p vfiod --test metrics_document` from agent/src/admin/metrics/catalog.rs; a test compares. -->\n\n\
        `vfiod run --metrics ADDR` serves them as OpenMetrics text at `/metrics`, and `--listen` does so on this host. The names \
        are those of the samples, as queries say them. What a code means, [HEALTH.md](HEALTH.md) says.\n\n\
        | metric | kind | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for metric in ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "–" } else { &labels };
        _ = writeln!(text, "| `{}` | {} | {labels} | {} |", metric.sample(), metric.kind.word(), metric.help);
    }
    let bounds =
        BOUNDS_NS.map(|bound| humantime::format_duration(Duration::from_nanos(bound)).to_string().replace(' ', ""));
    let list = |words: Vec<&str>| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let histograms: Vec<String> =
        ALL.iter().filter(|metric| metric.kind == Kind::Histogram).map(|metric| metric.sample()).collect();
    let histograms = list(histograms.iter().map(String::as_str).collect());
    _ = write!(
        text,
        "\nA histogram ({histograms}) has the samples `…_bucket`, `…_sum` and `…_count`; its buckets end at {}.\n\n\
        - `part` is one of {}.\n\
        - `reason` of a refusal is one of {}.\n\
        - `vfiod_device_holder_info` has one sample for each process and device that it has open, so as many as devices are in \
        use: it answers which process holds a device with one query, \
        `vfiod_device_holder_info{{device=\"0000:3b:00.0\"}}`, and who should not, `vfiod_device_holder_info{{relation=\"foreign\"}}`.\n",
        bounds.join(", "),
        list(Part::ALL.iter().map(|part| part.name()).collect()),
        list(Refused::ALL.iter().map(|refused| refused.code()).collect()),
    );
    text
}
