//! Fairness: `Allocate` of one resource while another one's devices come and go all the time.

use super::{Effort, Value, life::all_plugins, make, read_list};
use crate::{client, host::Host, kubelet::Kubelet, sample::Sample, server::Contestant, wire};
use anyhow::{Context, Result};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Nodes removed or made in a second.
const FLIPS: u32 = 10_000;

/// Measures `Allocate` in quiet and under the storm.
///
/// # Errors
/// When the server refuses what it must grant.
pub fn storm(contestant: &Contestant, host: &Host, effort: Effort) -> Result<Vec<Value>> {
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let server = contestant.start(host, kubelet_dir.path())?;
    let mut plugins = all_plugins(&mut kubelet, host)?;
    let (stormy, calm) = plugins.split_first_mut().context("no resources")?;
    let calm = calm.first_mut().context("one resource only")?;
    let nodes: Option<Vec<PathBuf>> = read_list(stormy.client.list())?.0.iter().map(|id| host.node_of(id)).collect();
    let nodes = nodes.context("the server lists a device that the host does not have")?;
    let (ids, _) = read_list(calm.client.list())?;
    let requests: Vec<Vec<u8>> = ids.iter().map(|id| wire::allocate_request([id.as_str()])).collect();
    let mut measure = |count: usize| -> Result<Sample> {
        let (mut sample, mut answer) = (Sample::default(), Vec::new());
        for request in requests.iter().cycle().take(count) {
            let begun = Instant::now();
            calm.client.call_into(client::ALLOCATE, request, &mut answer)?;
            sample.add(begun.elapsed());
        }
        Ok(sample)
    };
    measure(200)?;
    let quiet = measure(effort.calls)?;
    let (over, flips) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let stormed = thread::scope(|scope| {
        scope.spawn(|| blow(host, &nodes, &over, &flips));
        let stormed = measure(effort.calls);
        over.store(true, Ordering::Relaxed);
        stormed
    })?;
    let rate = flips.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64() / 1e3;
    server.stop()?;
    Ok(vec![("quiet-p99", quiet.quantile(0.99)), ("storm-p99", stormed.quantile(0.99)), ("storm-rate", rate)])
}

/// Takes nodes and puts them back, one after the other, at an even pace.
fn blow(host: &Host, nodes: &[PathBuf], over: &AtomicBool, flips: &AtomicUsize) {
    let begun = Instant::now();
    for (number, node) in (0u32..).zip(nodes.iter().flat_map(|node| [node, node]).cycle()) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let _ = if number.is_multiple_of(2) { fs::remove_file(node) } else { make(host, node) };
        flips.fetch_add(1, Ordering::Relaxed);
        let due = begun + Duration::from_secs(1) * number / FLIPS;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    nodes.iter().for_each(|node| drop(make(host, node)));
}
