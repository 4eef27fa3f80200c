//! For people: a line a check, and more of what failed.

use super::{Counts, Report, ResourceSeen};
use crate::conform::{book::Outcome, check::GROUPS};
use std::fmt::Write as _;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    _ = writeln!(out, "{}", report.target);
    for ResourceSeen { name, devices, healthy } in &report.resources {
        let name = if name.is_empty() { "(resource not known)" } else { name };
        _ = writeln!(out, "{name}: {devices} devices, {healthy} healthy");
    }
    let width = report.verdicts.iter().map(|(check, _)| check.name.len()).max().unwrap_or_default();
    for group in GROUPS {
        _ = writeln!(out, "\n{}: {}", group.name, group.about);
        for (check, outcome) in report.verdicts.iter().filter(|(check, _)| check.group() == group.name) {
            let word = match outcome {
                Outcome::Passed => "ok",
                Outcome::Failed(_) => "FAILED",
                Outcome::NotChecked(_) => "not checked",
                Outcome::Skipped => "skipped",
            };
            _ = write!(out, "  {word:<11}  {:<width$}  {}", check.name, check.title);
            match outcome {
                Outcome::NotChecked(why) => _ = writeln!(out, " ({why})"),
                _ => _ = writeln!(out),
            }
            let Outcome::Failed(findings) = outcome else { continue };
            for finding in findings {
                let of = if finding.resource.is_empty() { String::new() } else { format!("{}: ", finding.resource) };
                let what = finding.what.replace('\n', "\n                   ");
                _ = writeln!(out, "               - {of}{what}");
            }
            _ = writeln!(out, "               what users see: {}", check.consequence);
            _ = writeln!(out, "               rule: {}", check.source);
        }
    }
    let Counts { passed, failed, not_checked, skipped } = report.counts();
    _ = writeln!(
        out,
        "\n{passed} ok, {failed} failed, {not_checked} not checked, {skipped} skipped, in {:.1} s",
        report.took.as_secs_f32()
    );
    out
}
