//! From a device node that goes to the list at the kubelet, for one device and for all at once.

use super::{Dice, Effort, Subject, Value, make, read_list};
use crate::sample::Sample;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// After this long without a list a burst is over.
const QUIET: Duration = Duration::from_millis(60);

/// Measures the ways of health on one start. It begins with the burst: messages are limited to a hundred at once.
///
/// # Errors
/// When a change does not arrive.
pub fn health(subject: &mut Subject<'_>, effort: Effort) -> Result<Vec<Value>> {
    let nodes: Option<Vec<PathBuf>> = subject.ids.iter().map(|id| subject.host.node_of(id)).collect();
    let nodes = nodes.context("the server lists a device that the host does not have")?;
    let mut values = burst(subject, &nodes)?;
    let (mut gone, mut back) = (Sample::default(), Sample::default());
    let mut dice = Dice::new(3);
    let flips: Vec<&PathBuf> = (0..effort.flips).filter_map(|_| nodes.get(dice.below(nodes.len()))).collect();
    for node in flips {
        let healthy = subject.client.list().len();
        let begun = Instant::now();
        fs::remove_file(node)?;
        let list = subject.client.next_list()?;
        gone.add(begun.elapsed());
        ensure!(list.len() == healthy + 2 && read_list(list)?.1 == 1, "one device should be unhealthy");
        let begun = Instant::now();
        make(subject.host, node)?;
        let list = subject.client.next_list()?;
        back.add(begun.elapsed());
        ensure!(list.len() == healthy && read_list(list)?.1 == 0, "all devices should be healthy again");
    }
    values.push(("gone", gone.quantile(0.5)));
    values.push(("gone-tail", gone.quantile(0.99)));
    values.push(("back", back.quantile(0.5)));
    Ok(values)
}

/// All nodes at once.
pub(crate) fn burst(subject: &mut Subject<'_>, nodes: &[PathBuf]) -> Result<Vec<Value>> {
    let healthy = subject.client.list().len();
    let before = subject.client.lists_seen();
    let begun = Instant::now();
    nodes.iter().try_for_each(fs::remove_file)?;
    while subject.client.list().len() < healthy + 2 * nodes.len() {
        subject.client.next_list()?;
    }
    let took = begun.elapsed();
    let after = subject.client.lists_seen();
    ensure!(read_list(subject.client.list())?.1 == nodes.len(), "all devices should be unhealthy");
    nodes.iter().try_for_each(|node| make(subject.host, node))?;
    while subject.client.list().len() > healthy {
        subject.client.next_list()?;
    }
    while subject.client.list_within(QUIET)? {}
    ensure!(read_list(subject.client.list())?.1 == 0, "all devices should be healthy again");
    Ok(vec![
        ("burst", took.as_secs_f64() * 1e3),
        ("burst-messages", (after.0 - before.0) as f64),
        ("burst-bytes", (after.1 - before.1) as f64 / 1024.0),
    ])
}
