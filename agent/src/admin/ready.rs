//! Whether devices are served as they should be, and if not, why.

use crate::board::{Board, Condition, Part};
use serde::Serialize;
use std::fmt::Write as _;

/// How many resources a reason names before it only counts.
const NAMED: usize = 5;

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether every resource is served as it should be.
    pub ready: bool,
    /// The parts, each with its condition.
    pub parts: Vec<PartCondition>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartCondition {
    /// Its name.
    pub part: &'static str,
    /// "good", "degraded", "failing" or "unknown".
    pub condition: &'static str,
    /// What there is to say.
    pub text: String,
}

/// Looks at all parts.
#[must_use]
pub fn readiness(board: &Board) -> Readiness {
    let mut ready = true;
    let mut parts = Vec::with_capacity(Part::ALL.len());
    for part in Part::ALL {
        let condition = board.condition(part);
        let condition = match part {
            Part::Kubelet => kubelet(board, &condition),
            _ => (*condition).clone(),
        };
        match condition {
            Condition::Unknown if !part.is_needed() => continue, // not asked for
            Condition::Unknown | Condition::Failing(_) => ready = false,
            Condition::Good(_) | Condition::Degraded(_) => {}
        }
        let text = condition.text().to_owned();
        parts.push(PartCondition { part: part.name(), condition: condition.word(), text });
    }
    Readiness { ready, parts }
}

/// A kubelet that listens is well when every resource is registered with it.
fn kubelet(board: &Board, socket: &Condition) -> Condition {
    if !matches!(socket, Condition::Good(_)) {
        return socket.clone();
    }
    let served = board.served();
    let missing: Vec<_> = served.iter().filter(|served| !served.registered() || served.streams() == 0).collect();
    if missing.is_empty() {
        return Condition::Good(match served.len() {
            0 => "nothing is permitted, so nothing is registered".to_owned(),
            1 => "one resource is registered".to_owned(),
            count => format!("{count} resources are registered"),
        });
    }
    let reasons = missing.iter().take(NAMED).map(|served| match (served.registered(), served.trouble()) {
        (true, _) => format!("{}: the kubelet has not asked for the list yet", served.name()),
        (false, Some(trouble)) => format!("{}: {trouble}", served.name()),
        (false, None) => format!("{}: not registered yet", served.name()),
    });
    let mut text = reasons.collect::<Vec<_>>().join("; ");
    if missing.len() > NAMED {
        _ = write!(text, "; and {} more", missing.len() - NAMED);
    }
    Condition::Failing(text)
}

impl Readiness {
    /// A line a part, those that fail first.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = if self.ready { "ready\n".to_owned() } else { "not ready\n".to_owned() };
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|part| match part.condition {
            "failing" => 0,
            "unknown" => 1,
            "degraded" => 2,
            _ => 3,
        });
        for PartCondition { part, condition, text: said } in parts {
            let separator = if said.is_empty() { "" } else { ": " };
            _ = writeln!(text, "{condition:<8} {part}{separator}{}", said.replace(char::is_control, " "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Board {
        let board = Board::default();
        for part in Part::ALL {
            board.set(part, Condition::good());
        }
        board
    }

    #[test]
    fn nothing_is_ready_before_its_parts_have_said_so() {
        let readiness = readiness(&Board::default());
        assert!(!readiness.ready);
        assert_eq!(
            readiness.parts.iter().map(|part| part.part).collect::<Vec<_>>(),
            ["configuration", "host", "kubelet"]
        );
    }

    #[test]
    fn what_is_missing_is_told_and_does_not_make_unready() {
        let board = well();
        board.set(Part::Probe, Condition::Degraded("no capabilities".to_owned()));
        let readiness = readiness(&board);
        assert!(readiness.ready);
        assert!(readiness.text().starts_with("ready\ndegraded probe: no capabilities\n"), "{}", readiness.text());
    }

    #[test]
    fn a_failing_part_is_told_first_with_its_reason() {
        let board = well();
        board.set(Part::Host, Condition::Failing("cannot be listed".to_owned()));
        let readiness = readiness(&board);
        assert!(!readiness.ready);
        assert!(readiness.text().starts_with("not ready\nfailing  host: cannot be listed\n"), "{}", readiness.text());
    }
}
