//! What the loop notes on the board of itself: how its parts are, and what a settling changed.

use super::{holder_watch::HolderWatch, lists::Lists};
use crate::{
    board::{Board, Condition, Configured, Part},
    config::{Config, Standing},
};
use std::collections::HashSet;
use vfiod_core::ownership::{Reading, Source};

/// How many names a condition gives before it only counts.
const NAMED: usize = 5;

/// The configuration was read.
pub(super) fn configuration(board: &Board, config: &Config) {
    let standing = config.standing();
    let state = match &standing {
        Standing::Current => "current",
        Standing::Part(_) => "part",
        Standing::Kept(_) => "kept",
        Standing::Remembered => "remembered",
        Standing::Waiting => "waiting",
    };
    let source = if config.is_from_cr() { "kubevirt" } else { "file" };
    board.configured(Configured { source, state });
    let name = config.name();
    let condition = match standing {
        Standing::Current => Condition::Good(name),
        Standing::Part(problems) => Condition::Degraded(format!(
            "{name}: {problems} problem(s), told in the log; what is good of it is served, with the last good state of the rest"
        )),
        Standing::Kept(reason) => Condition::Degraded(format!("{reason}; the last good configuration is in force")),
        Standing::Remembered => {
            Condition::Degraded(format!("{name} was not read yet; what it said last, before this agent, is in force"))
        }
        Standing::Waiting => Condition::Failing(format!("{name} was not read yet, and is not remembered")),
    };
    board.set(Part::Configuration, condition);
}

/// The whole host was read, or a part of it.
pub(super) fn host(board: &Board, lists: &Lists, faults: usize) {
    let waiting: Vec<&str> = lists.waiting().collect();
    let condition = if !waiting.is_empty() {
        Condition::Failing(format!("the host's devices cannot be listed, so not registered: {}", some(&waiting)))
    } else if faults > 0 {
        Condition::Degraded(format!("{faults} fault(s) of the host, told in the log"))
    } else {
        Condition::good()
    };
    board.set(Part::Host, condition);
}

/// The sources of ownership were read.
pub(super) fn owners(board: &Board, reading: &Reading) {
    fn reason<T>(source: &Source<T>) -> Option<&String> {
        match source {
            Source::Unavailable(reason) => Some(reason),
            Source::Read(_) => None,
        }
    }
    let reasons: Vec<_> = [reason(&reading.checkpoint), reason(&reading.pod_resources)].into_iter().flatten().collect();
    let condition = match reasons.as_slice() {
        [] => Condition::good(),
        [one] => Condition::Degraded(format!("{one}; the other source is read")),
        [one, other, ..] => Condition::Degraded(format!("{one}; {other}; what is known of owners holds")),
    };
    board.set(Part::Owners, condition);
}

/// Somebody has looked who has what open.
pub(super) fn holders(board: &Board, watch: &HolderWatch) {
    board.node.censuses.one();
    let unknown: HashSet<String> = watch.tracker().sight().unknown().into_iter().collect();
    let mut unknown: Vec<String> = unknown.into_iter().collect();
    unknown.sort();
    let condition = match unknown.as_slice() {
        [] => Condition::Good("the kernel's own tables are read".to_owned()),
        unknown => Condition::Degraded(format!("not known: {}", unknown.join("; "))),
    };
    board.set(Part::Holders, condition);
}

/// The probe runs, or why it does not.
pub(super) fn probe(board: &Board, absent: Option<&str>) {
    board.set(
        Part::Probe,
        match absent {
            None => Condition::Good("attached".to_owned()),
            Some(reason) => Condition::Degraded(reason.to_owned()),
        },
    );
}

fn some(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(NAMED).filter(|&more| more > 0) {
        text += &format!(" and {more} more");
    }
    text
}
