//! `Allocate` and `GetPreferredAllocation`.

use super::{Dice, Effort, Subject, Value};
use crate::{client, placement::Apart, sample::Sample, wire};
use anyhow::{Context, Result, ensure};
use prost::Message;
use std::time::Instant;
use vfiod_proto::deviceplugin::AllocateResponse;

/// Callers of the throughput.
const CALLERS: usize = 64;
/// Calls before those that count.
const WARM: usize = 200;
/// How many devices a container asks for where it asks for several.
const SEVERAL: usize = 8;

/// Measures the calls on one start.
///
/// # Errors
/// When the server refuses what it must grant.
pub fn calls(subject: &mut Subject<'_>, effort: Effort) -> Result<Vec<Value>> {
    let _apart = Apart::place(subject.server)?;
    let ids = subject.ids.clone();
    // First, while nothing is allocated: a kubelet offers what is free.
    let mut values = vec![("preferred", preferred(subject, &ids, effort)?)];
    let mut dice = Dice::new(7);
    for (count, p50, tail) in [(1, "allocate-1", "allocate-1-tail"), (SEVERAL, "allocate-8", "allocate-8-tail")] {
        let requests: Vec<Vec<u8>> = (0..512).map(|_| wire::allocate_request(dice.pick(&ids, count))).collect();
        check(subject, &requests, count)?;
        let mut answer = Vec::new();
        let mut sample = Sample::default();
        for (number, request) in requests.iter().cycle().take(WARM + effort.calls).enumerate() {
            let begun = Instant::now();
            subject.client.call_into(client::ALLOCATE, request, &mut answer)?;
            if number >= WARM {
                sample.add(begun.elapsed());
            }
        }
        values.push((p50, sample.quantile(0.5)));
        values.push((tail, sample.quantile(0.999)));
        if count == 1 {
            let crowd = effort.calls * 3;
            let request = |number: usize| requests.get(number % requests.len()).map_or(&[][..], Vec::as_slice);
            let begun = Instant::now();
            subject.client.crowd(client::ALLOCATE, CALLERS, crowd, request)?;
            values.push(("crowd", crowd as f64 / begun.elapsed().as_secs_f64() / 1e3));
        }
    }
    Ok(values)
}

/// An answer holds what the request asked for.
fn check(subject: &mut Subject<'_>, requests: &[Vec<u8>], count: usize) -> Result<()> {
    let request = requests.first().context("no request")?;
    let answer = subject.client.call(client::ALLOCATE, request)?;
    let answer = AllocateResponse::decode(answer.as_slice()).context("the answer is none")?;
    let container = answer.container_responses.first().context("no container in the answer")?;
    let named = container.envs.values().map(|value| value.split(',').count()).min().unwrap_or_default();
    ensure!(named == count, "{named} devices were granted where {count} were asked for");
    ensure!(container.devices.len() > count, "{} device nodes for {count} devices", container.devices.len());
    Ok(())
}

fn preferred(subject: &mut Subject<'_>, ids: &[String], effort: Effort) -> Result<f64> {
    let mut dice = Dice::new(11);
    // A kubelet offers a set, whose order is another one each time (kubelet: `devicemanager/manager.go`,
    // `callGetPreferredAllocationIfAvailable`, `UnsortedList`).
    let mut shuffled: Vec<&str> = ids.iter().map(String::as_str).collect();
    let requests: Vec<Vec<u8>> = (0..8)
        .map(|_| {
            for place in (1..shuffled.len()).rev() {
                shuffled.swap(place, dice.below(place + 1));
            }
            wire::preferred_request(shuffled.iter().copied(), SEVERAL as u64)
        })
        .collect();
    let mut answer = Vec::new();
    let mut sample = Sample::default();
    let count = (effort.calls / 10).max(50);
    for (number, request) in requests.iter().cycle().take(10 + count).enumerate() {
        let begun = Instant::now();
        subject.client.call_into(client::PREFERRED, request, &mut answer)?;
        if number >= 10 {
            sample.add(begun.elapsed());
        }
    }
    Ok(sample.quantile(0.5))
}
