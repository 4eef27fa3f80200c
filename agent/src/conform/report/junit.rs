//! For CI systems: one test case a check, as JUnit's XML has it.

use super::{Counts, Report};
use crate::conform::book::Outcome;
use std::fmt::Write as _;

pub(super) fn render(report: &Report) -> String {
    let Counts { passed, failed, not_checked, skipped } = report.counts();
    let counts = format!(
        "tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\"",
        passed + failed + not_checked + skipped,
        not_checked + skipped,
        report.took.as_secs_f64()
    );
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    _ = writeln!(
        out,
        "<testsuites {counts}>\n  <testsuite name=\"vfiod conform {}\" {counts}>",
        escaped(&report.target)
    );
    for (check, outcome) in &report.verdicts {
        _ = write!(out, "    <testcase classname=\"{}\" name=\"{}\"", check.group(), check.name);
        match outcome {
            Outcome::Passed => _ = writeln!(out, "/>"),
            Outcome::Skipped => _ = writeln!(out, "><skipped message=\"--skip\"/></testcase>"),
            Outcome::NotChecked(why) => {
                _ = writeln!(out, "><skipped message=\"not checked: {}\"/></testcase>", escaped(why));
            }
            Outcome::Failed(findings) => {
                let told: Vec<String> =
                    findings.iter().map(|finding| format!("{} {}", finding.resource, finding.what)).collect();
                let body =
                    format!("{}\nwhat users see: {}\nrule: {}", told.join("\n"), check.consequence, check.source);
                _ = writeln!(
                    out,
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    escaped(check.title),
                    escaped(&body)
                );
            }
        }
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Text as XML 1.0 takes it, in elements and in attributes; control characters have no place in it at all.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
