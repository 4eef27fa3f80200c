//! Hours of work in minutes: whether memory stays what it is.

use super::{Dice, Subject, Value, make, read_list};
use crate::{client, kubelet::Kubelet, wire};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

/// Nodes that go and come back in a round.
const FLIPS: usize = 16;
/// Calls of `Allocate` in a round.
const CALLS: usize = 200;
/// Devices that are unplugged and plugged in again in a round.
const REPLUGS: usize = 2;
/// The devices that are replugged: the last ones, so that the others keep their groups.
const REPLUGGED: usize = 64;
/// Rounds between two restarts of the kubelet.
const RESTART_EVERY: u32 = 50;
/// Rounds between two looks at the whole host.
const RESCAN_EVERY: u32 = 20;
/// A round begins this long after the one before.
const ROUND: Duration = Duration::from_millis(500);
/// The quarters of the time whose lowest readings are compared: what a look at the host needs for a moment is given back a second
/// later, and is not kept.
const QUARTERS: [std::ops::Range<f64>; 2] = [0.25..0.5, 0.75..f64::INFINITY];
/// How long all may take to be well again at the end.
const PATIENCE: Duration = Duration::from_secs(90);

/// Flips nodes, allocates, unplugs and plugs in, looks again and restarts the kubelet for some time; prints the memory as
/// it goes. Gives the memory that was kept from the second quarter to the last one, in MiB, and what was done.
///
/// # Errors
/// When the server does not do its work, or does not list all devices as healthy at the end.
pub fn churn(subject: &mut Subject<'_>, kubelet: &mut Kubelet, time: Duration) -> Result<Vec<Value>> {
    let (ids, mut dice) = (subject.ids.clone(), Dice(11));
    let (fixed, replugged) = ids.split_at_checked(ids.len().saturating_sub(REPLUGGED)).context("too few devices")?;
    // What has just lost its node is refused, as it must be.
    let (flipped, granted) = fixed.split_at(fixed.len() / 2);
    let begun = Instant::now();
    let (mut lowest, mut said, mut calls) = ([f64::INFINITY; 2], Duration::ZERO, 0_usize);
    let mut round = 0;
    while begun.elapsed() < time {
        let due = begun + ROUND * round;
        sleep(due.saturating_duration_since(Instant::now()));
        round += 1;
        flip(subject, flipped, &mut dice)?;
        let mut answer = Vec::new();
        for _ in 0..CALLS {
            let count = 1 + dice.below(8);
            let request = wire::allocate_request(dice.pick(granted, count));
            subject.client.call_into(client::ALLOCATE, &request, &mut answer)?;
            calls += 1;
        }
        for id in dice.pick(replugged, REPLUGS) {
            subject.host.unplug(id)?;
            subject.host.plug(id)?;
        }
        while subject.client.list_within(Duration::from_millis(1))? {}
        if round % RESCAN_EVERY == 0 {
            subject.server.hang_up()?;
        }
        if round % RESTART_EVERY == 0 {
            kubelet.restart()?;
            subject.client = kubelet.accept()?.client;
            subject.client.next_list()?;
        }
        let anonymous = subject.server.anonymous()? as f64 / 1024.0;
        let part = begun.elapsed().as_secs_f64() / time.as_secs_f64();
        for (lowest, _) in lowest.iter_mut().zip(QUARTERS).filter(|(_, quarter)| quarter.contains(&part)) {
            *lowest = lowest.min(anonymous);
        }
        if begun.elapsed() >= said {
            let (all, secs) = (subject.server.resident()? as f64 / 1024.0, begun.elapsed().as_secs());
            eprintln!(
                "[{secs:>5} s] {round} rounds, {calls} calls: {anonymous:.1} MiB of its own, {all:.1} MiB in all"
            );
            said += (time / 20).clamp(Duration::from_secs(5), Duration::from_secs(60));
        }
    }
    whole_again(subject, ids.len())?;
    let [before, after] = lowest;
    ensure!(before.is_finite() && after.is_finite(), "too short a time: there was no round in a quarter of it");
    Ok(vec![("churn-kept", after - before), ("churn-rounds", f64::from(round))])
}

/// Takes some nodes, and gives them back.
fn flip(subject: &Subject<'_>, ids: &[String], dice: &mut Dice) -> Result<()> {
    let nodes = dice.pick(ids, FLIPS).into_iter().map(|id| subject.host.node_of(id).context("a device without a node"));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    nodes.iter().try_for_each(fs::remove_file)?;
    nodes.iter().try_for_each(|node| make(subject.host, node))?;
    Ok(())
}

/// Waits until all devices are listed as healthy.
fn whole_again(subject: &mut Subject<'_>, devices: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        while subject.client.list_within(Duration::from_millis(200))? {}
        let (ids, ill) = read_list(subject.client.list())?;
        if ids.len() == devices && ill == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} of {devices} devices are listed, {ill} of them as unhealthy", ids.len());
    }
}
