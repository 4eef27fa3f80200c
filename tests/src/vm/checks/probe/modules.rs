//! VFIO's modules go and come back.

use super::{of, open};
use crate::vm::watch::Watch;
use crate::vm::{Guest, modules};
use anyhow::{Result, ensure};
use vfiod::probe::EventKind;

/// Leaves every device bound.
pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    guest.check("when VFIO's modules go the probe lets go of them, and attaches when they come back", |guest| {
        modules::need_loadable()?;
        watch.forget()?;
        for device in guest.bench.all() {
            device.unbind()?;
        }
        modules::unload()?;
        watch.until("that the modules have gone", |watch| !watch.probe().is_following())?;
        ensure!(watch.census()?.openings.is_empty(), "something is open without VFIO");

        modules::load()?;
        watch.until("that the modules are back", |watch| watch.modules_changed > 0 && watch.probe().is_following())?;
        for device in guest.bench.all() {
            device.bind("vfio-pci")?;
        }
        let device = guest.bench.lone[0].clone();
        let share = open(&device)?;
        watch.event(EventKind::DeviceOpened, device.bdf(), Some(share.pid()))?;
        ensure!(of(&watch.census()?, device.bdf()).len() == 1, "the census has not {device}");
        drop(share);
        let closed = watch.event(EventKind::DeviceClosed, device.bdf(), None)?;
        ensure!(closed.open_count == Some(0), "its count is {:?}", closed.open_count);
        Ok(())
    })
}
