//! For programs; docs/CONFORMANCE.md describes it.

use super::{Counts, Report, ResourceSeen};
use crate::conform::{book::Outcome, check::Check};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    resources: Vec<Resource<'a>>,
    checks: Vec<Verdict<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Resource<'a> {
    name: &'a str,
    devices: usize,
    healthy: usize,
}

#[derive(Serialize)]
struct Verdict<'a> {
    check: &'static str,
    title: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Fault<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consequence: Option<&'static str>,
    source: &'static str,
}

#[derive(Serialize)]
struct Fault<'a> {
    resource: &'a str,
    what: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    passed: usize,
    failed: usize,
    not_checked: usize,
    skipped: usize,
    seconds: f64,
}

pub(super) fn render(report: &Report) -> Result<String, serde_json::Error> {
    let Counts { passed, failed, not_checked, skipped } = report.counts();
    let document = Document {
        target: &report.target,
        resources: report.resources.iter().map(resource).collect(),
        checks: report.verdicts.iter().map(|(check, outcome)| verdict(check, outcome)).collect(),
        summary: Summary { passed, failed, not_checked, skipped, seconds: report.took.as_secs_f64() },
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn resource(seen: &ResourceSeen) -> Resource<'_> {
    Resource { name: &seen.name, devices: seen.devices, healthy: seen.healthy }
}

fn verdict<'a>(check: &Check, outcome: &'a Outcome) -> Verdict<'a> {
    let (word, reason, findings) = match outcome {
        Outcome::Passed => ("passed", None, Vec::new()),
        Outcome::NotChecked(why) => ("not-checked", Some(why.as_str()), Vec::new()),
        Outcome::Skipped => ("skipped", None, Vec::new()),
        Outcome::Failed(findings) => {
            let faults = findings.iter().map(|found| Fault { resource: &found.resource, what: &found.what });
            ("failed", None, faults.collect())
        }
    };
    let consequence = matches!(outcome, Outcome::Failed(_)).then_some(check.consequence);
    Verdict {
        check: check.name,
        title: check.title,
        outcome: word,
        reason,
        findings,
        consequence,
        source: check.source,
    }
}
