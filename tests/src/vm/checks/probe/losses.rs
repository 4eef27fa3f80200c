//! Many at once, and a ring buffer without room: events may be lost, the truth may not.

use super::{RING, open};
use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::share::Share;
use crate::vm::watch::Watch;
use anyhow::{Context, Result, ensure};
use std::thread;
use vfiod::probe::EventKind;

/// Programs at once, and how often each tries to open the group.
const PROGRAMS: usize = 8;
const TIMES: u32 = 250;

pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    guest.check("after thousands of opens by eight processes at once the counts are the kernel's", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let worked = churn(&device)?;
        watch.forget_after(|watch| {
            let told = |kind| watch.events.iter().filter(|event| event.kind == kind).count();
            let (opened, closed) = (told(EventKind::GroupOpened), told(EventKind::GroupClosed));
            let line = format!(
                "show probe: {worked} opens by {PROGRAMS} processes; told {opened} opens, {closed} closes, {:?}",
                watch.probe().losses()
            );
            guest.port.say(&line)?;
            ensure!(closed <= worked, "{closed} closes of {worked} opens were told");
            ensure!(closed == worked || watch.overrun, "{closed} closes of {worked} opens were told, and no loss");
            Ok(())
        })?;
        closed_now(watch)
    })?;
    guest.check("a ring buffer that is too small loses events, says so, and the census is right", |guest| {
        let device = guest.bench.lone[0].clone();
        // Nobody reads it while the programs run: 4 KiB hold 30 events.
        let mut small = Watch::start(4096)?;
        churn(&device)?;
        let share = open(&device)?;
        small.until("an overrun", |small| small.overrun && small.probe().losses().ring_full > 0)?;
        let census = small.census()?;
        ensure!(super::of(&census, device.bdf()).len() == 1, "the census has {:?}", census.openings);
        drop(share);
        small.event(EventKind::DeviceClosed, device.bdf(), None)?;
        small.event(EventKind::GroupClosed, &device.group()?, None)?;
        closed_now(&mut small)
    })?;
    guest.check("two probes beside each other tell the same", |guest| {
        let device = guest.bench.lone[1].clone();
        watch.forget()?;
        let mut other = Watch::start(RING)?;
        let share = open(&device)?;
        let told =
            [&mut *watch, &mut other].map(|one| one.event(EventKind::DeviceOpened, device.bdf(), Some(share.pid())));
        let [one, other] = told;
        let (one, other) = (one?, other?);
        ensure!((one.object, &one.process) == (other.object, &other.process), "{one:?} {other:?}");
        Ok(())
    })
}

/// Has programs open and close the device's group as often as they can. Returns how often that worked.
fn churn(device: &Pci) -> Result<usize> {
    let mut shares = Vec::new();
    for _ in 0..PROGRAMS {
        // They get their files one after the other and then compete for one group.
        let mut share = open(device)?;
        for what in ["close device", "close group", "close container"] {
            share.tell(what)?;
        }
        shares.push(share);
    }
    let churning = |mut share: Share| thread::spawn(move || share.tell(&format!("churn {TIMES}")));
    let running: Vec<_> = shares.into_iter().map(churning).collect();
    let mut worked = PROGRAMS;
    for program in running {
        let times = program.join().ok().context("a thread ended badly")??;
        worked += usize::try_from(times)?;
    }
    Ok(worked)
}

fn closed_now(watch: &mut Watch) -> Result<()> {
    let census = watch.census()?;
    ensure!(census.openings.is_empty() && census.hidden.is_empty(), "the census has {census:?}");
    Ok(())
}
