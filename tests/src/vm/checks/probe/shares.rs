//! One open in several hands, or in none that `/proc` shows.

use super::{of, open};
use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::watch::{Watch, named};
use anyhow::{Context, Result, ensure};
use vfiod::probe::EventKind;

pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    guest.check("dup and fork are one open, and it lasts until the last descriptor goes", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let mut share = open(&device)?;
        let parent = share.pid();
        share.tell("dup")?;
        let child = share.tell("fork")?;
        let census = watch.census()?;
        let mut found: Vec<_> = of(&census, device.bdf())
            .iter()
            .map(|opening| (opening.process.pid, opening.fds, opening.open_count))
            .collect();
        found.sort_unstable();
        ensure!(found == [(parent, 2, Some(1)), (child, 2, Some(1))], "the census has {found:?}");
        ensure!(census.hidden.is_empty(), "{:?} is hidden", census.hidden);

        share.kill()?;
        let census = watch.census()?;
        let found: Vec<_> = of(&census, device.bdf()).iter().map(|opening| opening.process.pid).collect();
        ensure!(found == [child], "after the parent's end the census has {found:?}");
        ensure!(!watch.events.iter().any(|event| event.kind == EventKind::DeviceClosed), "it was told closed");
        kill(child)?;
        let closed = watch.event(EventKind::DeviceClosed, device.bdf(), Some(child))?;
        ensure!(closed.open_count == Some(0), "its count is {:?}", closed.open_count);
        Ok(())
    })?;
    guest.check("a device stays open when its group's descriptor is closed", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let mut share = open(&device)?;
        share.tell("close group")?;
        share.tell("close container")?;
        let census = watch.census()?;
        ensure!(of(&census, device.bdf()).len() == 1, "the census has {:?}", census.openings);
        let group = census.hidden.iter().find(|hidden| hidden.object.is_group());
        let group = group.context("the group is open through its device, and not told hidden")?;
        ensure!((group.open_count, group.visible) == (1, 0), "{group:?}");
        share.tell("close device")?;
        watch.event(EventKind::GroupClosed, &device.group()?, None)?;
        Ok(())
    })?;
    guest.check("a mapped device without a descriptor is open with a hidden holder", |guest| {
        let device = guest.bench.lone[0].clone();
        let mut share = open(&device)?;
        for what in ["map", "close device", "close group", "close container"] {
            share.tell(what)?;
        }
        hidden(watch, &device)?;
        share.tell("unmap")?;
        shown_closed(watch, &device)
    })?;
    guest.check("a device on its way through a socket is open with a hidden holder", |guest| {
        let device = guest.bench.lone[0].clone();
        let mut share = open(&device)?;
        for what in ["pass", "close device", "close group", "close container"] {
            share.tell(what)?;
        }
        hidden(watch, &device)?;
        share.tell("take")?;
        let census = watch.census()?;
        ensure!(of(&census, device.bdf()).len() == 1, "taken from the socket the census has {:?}", census.openings);
        drop(share);
        shown_closed(watch, &device)
    })
}

/// No descriptor shows the device, and the census says so although nobody has ever told it of this device.
fn hidden(watch: &mut Watch, device: &Pci) -> Result<()> {
    let census = watch.census()?;
    ensure!(of(&census, device.bdf()).is_empty(), "the census has {:?}", census.openings);
    let found = census.hidden.iter().find(|hidden| named(&hidden.object, device.bdf()));
    let found = found.with_context(|| format!("the census hides only {:?}", census.hidden))?;
    ensure!((found.open_count, found.visible) == (1, 0), "{found:?}");
    Ok(())
}

fn shown_closed(watch: &mut Watch, device: &Pci) -> Result<()> {
    watch.event(EventKind::GroupClosed, &device.group()?, None)?;
    let census = watch.census()?;
    ensure!(census.openings.is_empty() && census.hidden.is_empty(), "{census:?}");
    watch.forget()
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no such pid")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}
