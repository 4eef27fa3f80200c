//! What `vfiod top` and `vfiod watch` know of a node: updates folded into rows.

use std::collections::BTreeMap;
use vfiod_proto::status::{Holder, Row, RowName, Summary, Totals, Update};

/// The name of a row: resource, then device.
pub(super) type Key = (Option<String>, String);

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The rows, by resource and device.
    pub(super) rows: BTreeMap<Key, Row>,
    /// How the daemon is.
    pub(super) summary: Option<Summary>,
    /// What it does in a second.
    pub(super) rates: Option<Rates>,
    /// Whether everything has been told once.
    pub(super) complete: bool,
    /// Rows of a new beginning, until all are there.
    incoming: Option<BTreeMap<Key, Row>>,
    counted: Option<(u64, Totals)>,
}

/// What happens in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) allocations: f64,
    pub(super) events: f64,
}

/// What an update changed of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) at_ms: u64,
    pub(super) before: Option<Row>,
    pub(super) now: Option<Row>,
}

/// The least time between two counts that a rate is made of, in milliseconds.
const APART_MS: u64 = 500;

impl Known {
    /// Takes an update. Returns what it changed; nothing for what was so from the beginning.
    pub(super) fn take(&mut self, update: Update) -> Vec<Change> {
        let Update { at_ms, reset, complete, rows, gone, summary } = update;
        if reset {
            self.incoming = Some(BTreeMap::new());
        }
        if let Some(summary) = summary {
            self.count(&summary);
            self.summary = Some(summary);
        }
        let mut changes = Vec::new();
        match &mut self.incoming {
            Some(incoming) => incoming.extend(rows.into_iter().map(|row| (key(&row), row))),
            None => {
                for row in rows {
                    let before = self.rows.insert(key(&row), row.clone());
                    changes.push(Change { at_ms, before, now: Some(row) });
                }
            }
        }
        for RowName { resource, device } in gone {
            let key = (resource, device);
            match &mut self.incoming {
                Some(incoming) => _ = incoming.remove(&key),
                None => {
                    changes.extend(self.rows.remove(&key).map(|row| Change { at_ms, before: Some(row), now: None }))
                }
            }
        }
        if let Some(incoming) = self.incoming.take_if(|_| complete) {
            let old = std::mem::replace(&mut self.rows, incoming);
            if std::mem::replace(&mut self.complete, true) {
                changes.extend(differences(at_ms, old, &self.rows));
            }
        }
        changes.retain(|change| change.before != change.now);
        changes
    }

    /// Makes rates of two counts. A daemon that has started anew counts from nothing.
    fn count(&mut self, summary: &Summary) {
        let totals = summary.totals.unwrap_or_default();
        if let Some((up_ms, before)) = &self.counted
            && let Some(passed) = summary.up_ms.checked_sub(*up_ms)
        {
            if passed < APART_MS {
                return;
            }
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1000.0 / passed as f64;
            self.rates = Some(Rates {
                allocations: rate(totals.allocations, before.allocations),
                events: rate(totals.events, before.events),
            });
        }
        self.counted = Some((summary.up_ms, totals));
    }
}

fn key(row: &Row) -> Key {
    (row.resource.clone(), row.device.clone())
}

fn differences(at_ms: u64, mut old: BTreeMap<Key, Row>, new: &BTreeMap<Key, Row>) -> Vec<Change> {
    let changed = new.iter().map(|(key, row)| Change { at_ms, before: old.remove(key), now: Some(row.clone()) });
    let mut changes: Vec<Change> = changed.collect();
    changes.extend(old.into_values().map(|row| Change { at_ms, before: Some(row), now: None }));
    changes
}

/// Whether somebody has it open who is not of the pod that owns it.
pub(super) fn stranger(row: &Row) -> bool {
    row.holders.iter().any(|holder| holder.relation == "foreign")
}

/// Whether it belongs to somebody.
pub(super) fn owned(row: &Row) -> bool {
    row.owner.is_some() || matches!(row.reason.as_str(), "Owned" | "Claimed")
}

/// The owner in few words; empty where there is none.
pub(super) fn owner(row: &Row) -> String {
    let Some(owner) = &row.owner else { return String::new() };
    match (&owner.namespace, &owner.pod, &owner.pod_uid) {
        (Some(namespace), Some(pod), _) => format!("{namespace}/{pod}"),
        (_, _, Some(uid)) => format!("pod {uid}"),
        _ => owner.container.clone(),
    }
}

/// The holder that matters most in few words; empty where there is none.
pub(super) fn holder(row: &Row) -> String {
    held_by(&row.holders, row.open_count, row.through_group)
}

/// The same of these holders.
pub(super) fn held_by(holders: &[Holder], open_count: Option<u32>, through_group: bool) -> String {
    let first = holders.iter().find(|holder| holder.relation == "foreign").or_else(|| holders.first());
    let Some(first) = first else {
        return if open_count.is_some_and(|count| count > 0) { "nobody shows it".to_owned() } else { String::new() };
    };
    let more = holders.len().saturating_sub(1);
    let more = if more > 0 { format!(" +{more}") } else { String::new() };
    let through = if through_group { " (group)" } else { "" };
    format!("{} {}{more}{through}", first.pid, first.command)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use vfiod_proto::status::Owner;

    pub(in super::super) fn row(resource: &str, device: &str, health: &str, reason: &str) -> Row {
        Row {
            resource: Some(resource.to_owned()),
            device: device.to_owned(),
            health: health.to_owned(),
            reason: reason.to_owned(),
            message: format!("because of {reason}"),
            ..Row::default()
        }
    }

    pub(in super::super) fn all(rows: Vec<Row>) -> Update {
        Update { reset: true, complete: true, rows, summary: Some(Summary::default()), ..Update::default() }
    }

    #[test]
    fn what_was_so_from_the_beginning_is_no_change() {
        let mut known = Known::default();
        assert_eq!(known.take(all(vec![row("a/gpu", "1", "Healthy", "Ready")])), []);
        let changed = row("a/gpu", "1", "Unhealthy", "Removed");
        let changes = known.take(Update { rows: vec![changed.clone(), changed], ..Update::default() });
        assert_eq!(changes.len(), 1, "the second says the same");
    }

    #[test]
    fn a_new_beginning_is_compared_when_it_is_complete() {
        let mut known = Known::default();
        known.take(all(vec![row("a/gpu", "1", "Healthy", "Ready"), row("a/gpu", "2", "Healthy", "Ready")]));
        let part = Update { reset: true, rows: vec![row("a/gpu", "2", "Healthy", "Ready")], ..Update::default() };
        assert_eq!(known.take(part), []);
        assert_eq!(known.rows.len(), 2, "until then what was known holds");
        let rest = Update { complete: true, rows: vec![row("a/gpu", "3", "Healthy", "Ready")], ..Update::default() };
        let changes = known.take(rest);
        let devices = |of: fn(&Change) -> &Option<Row>| -> Vec<String> {
            changes.iter().filter_map(|change| of(change).as_ref()).map(|row| row.device.clone()).collect()
        };
        assert_eq!(
            (devices(|change| &change.before), devices(|change| &change.now)),
            (vec!["1".into()], vec!["3".into()])
        );
    }

    #[test]
    fn rates_are_made_of_two_counts_and_begin_anew_with_the_daemon() {
        let mut known = Known::default();
        let count = |up_ms, allocations| Update {
            summary: Some(Summary {
                up_ms,
                totals: Some(Totals { allocations, ..Totals::default() }),
                ..Summary::default()
            }),
            ..Update::default()
        };
        known.take(count(1000, 10));
        assert_eq!(known.rates, None);
        known.take(count(3000, 14));
        assert_eq!(known.rates.map(|rates| rates.allocations), Some(2.0));
        known.take(count(100, 0));
        known.take(count(1100, 3));
        assert_eq!(known.rates.map(|rates| rates.allocations), Some(3.0));
    }

    #[test]
    fn of_several_holders_the_stranger_is_named() {
        let of = |command: &str, pid, relation: &str| Holder {
            command: command.to_owned(),
            pid,
            relation: relation.to_owned(),
            ..Holder::default()
        };
        let mut row = row("a/gpu", "1", "Healthy", "Held");
        row.holders = vec![of("qemu-system-x86", 5, "own"), of("python3", 9, "foreign")];
        assert_eq!(holder(&row), "9 python3 +1");
        row.owner = Some(Owner { namespace: Some("ns".into()), pod: Some("vm".into()), ..Owner::default() });
        assert_eq!(owner(&row), "ns/vm");
    }
}
