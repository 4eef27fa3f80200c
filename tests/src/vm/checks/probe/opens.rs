//! Opens and releases by one process.

use super::{of, open};
use crate::vm::mdev::Mdev;
use crate::vm::share::Share;
use crate::vm::watch::Watch;
use crate::vm::{Guest, modules};
use anyhow::{Result, bail, ensure};
use vfiod::probe::{EventKind, Source};

pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
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
        let [found] = found.as_slice() else { bail!("the census has {found:?}") };
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
    })?;
    guest.check("an mdev is told by its UUID", |_| {
        modules::need_mtty()?;
        let mdev = Mdev::create("6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a02")?;
        let seen = with_mdev(watch, &mdev);
        mdev.remove()?;
        seen
    })?;
    guest.check("a driver that wants its device back is told while the holder has it open", |guest| {
        let device = guest.bench.lone[0].clone();
        watch.forget()?;
        let share = open(&device)?;
        let unbound = std::thread::spawn({
            let device = device.clone();
            move || device.unbind()
        });
        let removing = watch.event(EventKind::Removing, device.bdf(), None)?;
        ensure!(removing.open_count == Some(1), "its count is {:?}", removing.open_count);
        drop(share);
        ensure!(unbound.join().is_ok_and(|done| done.is_ok()), "it is not unbound");
        let closed = watch.event(EventKind::DeviceClosed, device.bdf(), None)?;
        ensure!(closed.open_count == Some(0), "a device that is gone has the count {:?}", closed.open_count);
        device.bind("vfio-pci")
    })
}

fn with_mdev(watch: &mut Watch, mdev: &Mdev) -> Result<()> {
    watch.forget()?;
    let share = Share::open(&mdev.node()?, mdev.uuid())?;
    watch.event(EventKind::DeviceOpened, mdev.uuid(), Some(share.pid()))?;
    ensure!(of(&watch.census()?, mdev.uuid()).len() == 1, "the census has no {}", mdev.uuid());
    drop(share);
    watch.event(EventKind::DeviceClosed, mdev.uuid(), None).map(drop)
}
