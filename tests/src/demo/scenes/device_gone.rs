//! Device nodes go and come back, and the kubelet hears of it.

use crate::demo::{
    figures::{Sample, time},
    host::T4,
    stage::Stage,
};
use anyhow::{Context, Result};
use std::time::Instant;
use vfiod_simulator::kubelet::{Health, Listing};

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("Devices disappear and come back")?;
    let (mut gone, mut back) = (Sample::default(), Sample::default());
    let victims = victims(stage)?;
    for (round, (device, group)) in victims.iter().enumerate() {
        let skip = messages(stage)?;
        let begun = Instant::now();
        stage.node()?.node_gone(*group)?;
        gone.add(until(stage, device, Health::Unhealthy, skip, begun).await?);
        if round == 0 {
            let (capacity, allocatable) = stage.kubelet()?.look(|state| (state.capacity(T4), state.allocatable(T4)));
            stage.page.say(&format!(
                "/dev/vfio/{group}, the node of {device}, is removed. The kubelet now counts {allocatable} of {capacity} T4s \
                 as allocatable; nothing else changes. vfiod's log:"
            ))?;
            stage.page.blank()?;
            let log = stage.log();
            let line = log.lines().rev().find(|line| line.contains(device)).unwrap_or_default();
            stage.page.quote(without_time(line))?;
            stage.page.blank()?;
        }
        let skip = messages(stage)?;
        let begun = Instant::now();
        stage.node()?.node_back(*group)?;
        back.add(until(stage, device, Health::Healthy, skip, begun).await?);
    }
    stage.page.say(&format!(
        "The node comes back, and the device is Healthy again. The same with {} devices, from the change in /dev/vfio until the \
         kubelet has the new list of all T4s:",
        gone.len()
    ))?;
    stage.page.blank()?;
    let row = |what: &str, sample: &Sample| [what.to_owned(), time(sample.median()), time(sample.worst())];
    let (left, right) = (crate::demo::page::Side::Left, crate::demo::page::Side::Right);
    let rows = [row("node gone: Unhealthy", &gone), row("node back: Healthy", &back)];
    stage.page.table([left, right, right], ["", "median", "worst"], &rows)?;
    let figure = |sample: &Sample| format!("{} median, {} worst", time(sample.median()), time(sample.worst()));
    stage.note(format!("device node gone: Unhealthy at the kubelet ({}x)", gone.len()), figure(&gone));
    stage.note(format!("device node back: Healthy at the kubelet ({}x)", back.len()), figure(&back));
    Ok(())
}

/// Free T4s and their groups: another one for each round, because vfiod lets a device that flaps prove itself first.
fn victims(stage: &Stage) -> Result<Vec<(String, u32)>> {
    let (devices, allocated) = stage.kubelet()?.look(|state| (state.devices(T4), state.allocated(T4)));
    let free = devices.into_keys().filter(|device| !allocated.contains(device));
    let wanted = stage.options.repeat as usize;
    let mut victims = Vec::new();
    for device in free.step_by((stage.counts.t4 / wanted).max(1)).take(wanted) {
        let group = stage.node()?.group_of(&device).with_context(|| format!("{device} has no IOMMU group"))?;
        victims.push((device, group));
    }
    Ok(victims)
}

fn messages(stage: &Stage) -> Result<usize> {
    Ok(stage.kubelet()?.look(|state| state.listings(T4).len()))
}

/// How long from `begun` until the kubelet was told that `device` is `health`.
async fn until(
    stage: &Stage,
    device: &str,
    health: Health,
    skip: usize,
    begun: Instant,
) -> Result<std::time::Duration> {
    let told = |listing: &Listing| matches!(listing.changes.get(device), Some(Some(now)) if now.health == health);
    let listing = stage.received(&format!("{device} is {health:?}"), T4, skip, told).await?;
    Ok(listing.received.duration_since(begun))
}

/// A line of the log without its time stamp.
fn without_time(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, rest)| rest).trim_start()
}
