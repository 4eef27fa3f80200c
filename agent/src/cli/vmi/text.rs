//! The answer for people.

use super::admission::{Candidate, Supply, Trial};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use std::fmt::Write as _;

/// More devices than this that are not free are counted instead of named.
const NAMED: usize = 16;

/// A paragraph a machine.
pub(super) fn render(trials: &[Trial], document: &str) -> String {
    let mut text = String::new();
    for (index, trial) in trials.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let verdict = if trial.starts() { "would start" } else { "would not start" };
        _ = writeln!(text, "{} {verdict} on this node now", trial.machine);
        if !trial.machine.sound {
            _ = writeln!(text, "  its document is wrong: the API server does not take it");
        }
        for problem in &trial.problems {
            _ = writeln!(text, "  {document}:{problem}");
        }
        for notice in &trial.notices {
            _ = writeln!(text, "  {document}:{}: notice: {}", notice.at, notice.message());
        }
        if trial.starts() {
            text.push_str(&devices(trial));
        }
        for supply in &trial.resources {
            text.push_str(&stock(supply, !trial.starts()));
        }
    }
    text
}

/// Which entry gets which device.
fn devices(trial: &Trial) -> String {
    let mut devices: Vec<_> = trial.assignment.devices.iter().collect();
    devices.sort_by_key(|device| device.entry);
    let rows = devices.into_iter().filter_map(|device| {
        let entry = trial.machine.entries.get(device.entry)?;
        let address = device.source.to_string();
        let numa = trial
            .resources
            .iter()
            .flat_map(|supply| &supply.devices)
            .find(|candidate| candidate.id.to_string() == address)
            .and_then(|candidate| candidate.numa)
            .map_or_else(|| "-".to_owned(), |node| node.to_string());
        let resource = entry.resource().map(ToString::to_string).unwrap_or_default();
        Some(vec![entry.path.clone(), entry.name.clone(), resource, address, numa])
    });
    table(&["ENTRY", "NAME", "RESOURCE", "DEVICE", "NUMA"], rows)
}

/// What the host has of a resource; where it is in the way, each device that is not free.
fn stock(supply: &Supply, explain: bool) -> String {
    let (all, free) = (supply.devices.len(), supply.free());
    let mut text = format!("  {}: {} wanted, {free} of {all} free\n", supply.name, supply.wanted);
    if explain && (free as u64) < supply.wanted {
        let busy: Vec<&Candidate> = supply.devices.iter().filter(|device| !device.free).collect();
        for device in busy.iter().take(NAMED) {
            _ = write!(text, "    {}: {}", device.id, device.verdict.reason);
            match device.verdict.reason.remedy() {
                Some(remedy) => _ = writeln!(text, "; {remedy}"),
                None => text.push('\n'),
            }
        }
        if let Some(more) = busy.len().checked_sub(NAMED).filter(|more| *more > 0) {
            _ = writeln!(text, "    and {more} more: see `vfiod devices`");
        }
    }
    text
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}
