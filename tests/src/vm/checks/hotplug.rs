//! Devices that go and come through QEMU's monitor. The names of ports and devices are those of
//! `xtask/src/vm/machine.rs`.

use super::CONTAINER;
use crate::vm::pci::Pci;
use crate::vm::{Guest, opener, wait};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

/// Long enough for the slowest slot: five seconds between the button and the power going.
const SLOT: Duration = Duration::from_secs(20);

/// Unplugs the device that was there at the start and plugs it in again, so that later scenarios find it.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("an unplugged device and its group node go", |guest| {
        let device = guest.bench.in_port.clone();
        let node = device.node()?;
        guest.port.unplug("early")?;
        wait::until(SLOT, || {
            ensure!(!device.exists(), "{device} is in sysfs");
            ensure!(!node.exists(), "{} is there", node.display());
            Ok(())
        })?;
        Ok(())
    })?;
    guest.check("a plugged device appears, binds and opens", |guest| {
        guest.port.plug("late", "port-free")?;
        let known: Vec<Pci> = guest.bench.all().cloned().collect();
        let (device, _) = wait::until(SLOT, || {
            let new = Pci::all()?.into_iter().find(|device| device.is_edu() && !known.contains(device));
            new.context("no new device in sysfs")
        })?;
        device.bind("vfio-pci")?;
        let node = device.node()?;
        opener::open(Path::new(CONTAINER), &[(&node, &[device.bdf()])])?
            .expect(&[format!("config {device} 1234:11e8")])?;
        guest.port.unplug("late")?;
        wait::until(SLOT, || {
            ensure!(!device.exists(), "{device} is in sysfs");
            Ok(())
        })?;
        Ok(())
    })?;
    guest.port.plug("early", "port-full")?;
    let device = guest.bench.in_port.clone();
    wait::until(SLOT, || {
        ensure!(device.exists(), "{device} is not back");
        Ok(())
    })?;
    device.bind("vfio-pci")
}
