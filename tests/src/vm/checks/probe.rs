//! The kernel probe: its events, its counts and its census against programs that hold devices in every way.

use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::share::Share;
use crate::vm::watch::{Watch, named};
use anyhow::{Context, Result, ensure};
use vfiod::probe::{Attachment, Census, EventKind, Opening, Source};

const RING: u32 = 256 * 1024;

/// Leaves every device bound and closed.
pub fn run(guest: &mut Guest) -> Result<()> {
    let mut watch = None;
    guest.check("the kernel probe loads and follows opens and releases", |guest| {
        let started = Watch::start(RING)?;
        for hook in started.probe().hooks() {
            ensure!(!matches!(hook.attachment, Attachment::Failed(_)), "{}: {}", hook.function, hook.attachment);
        }
        ensure!(started.probe().is_following(), "it follows nothing: {:?}", started.probe().hooks());
        let line = format!("show probe: started in {:?} with {}", started.started_in, started.probe().grant());
        guest.port.say(&line)?;
        watch = Some(started);
        Ok(())
    })?;
    let Some(mut watch) = watch else { return Ok(()) };
    opens(guest, &mut watch)?;
    shares(guest, &mut watch)?;
    Ok(())
}

fn opens(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    guest.check("an open tells device, group, process and count", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let share = open(&device)?;
        let opened = watch.event(EventKind::DeviceOpened, device.bdf(), Some(share.pid()))?;
        ensure!(opened.open_count == Some(1), "its count is {:?}", opened.open_count);
        ensure!(opened.process.command == "vfio-share", "its command is {}", opened.process.command);
        ensure!(opened.object.group.map(|group| group.to_string()) == Some(device.group()?), "{:?}", opened.object);
        let group = watch.event(EventKind::GroupOpened, &device.group()?, Some(share.pid()))?;
        ensure!(group.open_count == Some(1) && group.at_boot_ns < opened.at_boot_ns, "{group:?} {opened:?}");

        let census = watch.census()?;
        let found = of(&census, device.bdf());
        let [found] = found.as_slice() else { anyhow::bail!("the census has {found:?}") };
        ensure!(census.source == Source::Kernel && found.object == opened.object, "{found:?} is not {opened:?}");
        ensure!(found.process == opened.process, "{:?} is not {:?}", found.process, opened.process);
        ensure!(census.hidden.is_empty(), "{:?} is hidden", census.hidden);

        drop(share);
        let closed = watch.event(EventKind::DeviceClosed, device.bdf(), None)?;
        ensure!(closed.open_count == Some(0), "its count is {:?}", closed.open_count);
        let closed = watch.event(EventKind::GroupClosed, &device.group()?, None)?;
        ensure!(closed.open_count == Some(0), "its count is {:?}", closed.open_count);
        ensure!(watch.census()?.openings.is_empty(), "the census is not empty");
        Ok(())
    })?;
    guest.check("a killed holder's device is told closed", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let share = open(&device)?;
        let pid = share.pid();
        watch.event(EventKind::DeviceOpened, device.bdf(), Some(pid))?;
        share.kill()?;
        let closed = watch.event(EventKind::DeviceClosed, device.bdf(), Some(pid))?;
        ensure!(closed.open_count == Some(0) && closed.process.command == "vfio-share", "{closed:?}");
        Ok(())
    })?;
    guest.check("refused opens make no event", |guest| {
        let device = guest.bench.lone[0].clone();
        let mut share = open(&device)?;
        watch.forget()?;
        ensure!(share.tell("churn 500")? == 0, "a busy group was opened");
        watch.forget()?;
        drop(share);
        watch.event(EventKind::GroupClosed, &device.group()?, None)?;
        let opened = watch.events.iter().filter(|event| event.kind == EventKind::GroupOpened).count();
        ensure!(opened == 0, "{opened} opens were told");
        Ok(())
    })
}

fn shares(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
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

fn open(device: &Pci) -> Result<Share> {
    Share::open(&device.node()?, device.bdf())
}

fn of(census: &Census, name: &str) -> Vec<Opening> {
    census.openings.iter().filter(|opening| named(&opening.object, name)).cloned().collect()
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no such pid")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}
