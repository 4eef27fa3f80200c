//! Device nodes go and come back, and the kubelet hears of it.

use crate::demo::{
    figures::{Sample, count, time},
    host::T4,
    page::Side,
    stage::Stage,
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use vfiod_simulator::kubelet::{Health, Listing};

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("Devices disappear and come back")?;
    let (mut gone, mut back) = (Sample::default(), Sample::default());
    for (device, group) in victims(stage)? {
        let skip = messages(stage)?;
        let begun = Instant::now();
        stage.node()?.node_gone(group)?;
        let took = until(stage, &device, Health::Unhealthy, skip, begun).await?;
        if gone.len() == 0 {
            tell(stage, &device, group)?;
        }
        gone.add(took);
        let skip = messages(stage)?;
        let begun = Instant::now();
        stage.node()?.node_back(group)?;
        back.add(until(stage, &device, Health::Healthy, skip, begun).await?);
    }
    stage.page.say(&format!(
        "The node comes back, and the device is Healthy again. The same with {} devices, each from the change in \
         /dev/vfio until the kubelet has the new list of all T4s:",
        gone.len()
    ))?;
    stage.page.blank()?;
    let row = |what: &str, sample: &Sample| [what.to_owned(), time(sample.median()), time(sample.worst())];
    let rows = [row("node gone, device Unhealthy", &gone), row("node back, device Healthy", &back)];
    stage.page.table([Side::Left, Side::Right, Side::Right], ["", "median", "worst"], &rows)?;
    stage.note_sample("device node gone: the kubelet knows", &gone);
    stage.note_sample("device node back: the kubelet knows", &back);
    Ok(())
}

/// What the first of them looks like from outside.
fn tell(stage: &mut Stage, device: &str, group: u32) -> Result<()> {
    let (capacity, allocatable) = stage.kubelet()?.look(|state| (state.capacity(T4), state.allocatable(T4)));
    ensure!(allocatable + 1 == capacity, "{allocatable} of {capacity} T4s are allocatable, and one node is missing");
    stage.page.say(&format!(
        "/dev/vfio/{group}, the node of {device}, is removed. At once {} of {} T4s are allocatable, and vfiod's log says:",
        count(allocatable),
        count(capacity)
    ))?;
    stage.page.blank()?;
    let log = stage.log();
    stage.page.quote(without_time(log.lines().rev().find(|line| line.contains(device)).unwrap_or_default()))?;
    stage.page.blank()
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
async fn until(stage: &mut Stage, device: &str, health: Health, skip: usize, begun: Instant) -> Result<Duration> {
    let told = |listing: &Listing| matches!(listing.changes.get(device), Some(Some(now)) if now.health == health);
    let listing = stage.received(&format!("{device} is {health:?}"), T4, skip, told).await?;
    Ok(listing.received.duration_since(begun))
}

/// A line of the log without its time stamp.
fn without_time(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, rest)| rest).trim_start()
}
