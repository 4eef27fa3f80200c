//! Devices that go and come through QEMU's monitor. The names of ports and devices are those of
//! `xtask/src/vm/machine.rs`.

use crate::vm::Guest;
use crate::vm::opener::{self, group};
use crate::vm::pci::Pci;
use anyhow::{Result, ensure};

/// Unplugs the device that was there at the start and plugs it in again, so that later scenarios find it.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("an unplugged device and its group node go", |guest| {
        let device = guest.bench.in_port.clone();
        let node = device.node()?;
        guest.port.unplug("early")?;
        device.wait_until_gone()?;
        ensure!(!node.exists(), "{device} is gone and {} is there", node.display());
        Ok(())
    })?;
    guest.check("a plugged device appears, binds and opens", |guest| {
        guest.port.plug("late", "port-free")?;
        let known: Vec<Pci> = guest.bench.all().cloned().collect();
        let device = Pci::wait_for_another(&known)?;
        device.bind("vfio-pci")?;
        let node = device.node()?;
        opener::open(&[group(&node, &[device.bdf()])])?.expect(&[format!("config {device} 1234:11e8")])?;
        guest.port.unplug("late")?;
        device.wait_until_gone()
    })?;
    guest.port.plug("early", "port-full")?;
    let device = guest.bench.in_port.clone();
    device.wait_until_there()?;
    device.bind("vfio-pci")
}
