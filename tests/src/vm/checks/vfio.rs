//! The ground everything stands on: the machine's devices, bound to `vfio-pci`, open through the VFIO ioctls.

use crate::vm::Guest;
use crate::vm::opener::{self, Holder, group};
use anyhow::{Result, ensure};

/// Binds every device and leaves them bound.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("every device binds to vfio-pci and its group gets a node in /dev/vfio", |guest| {
        for device in guest.bench.all() {
            device.bind("vfio-pci")?;
            let node = device.node()?;
            ensure!(node.exists(), "{device} is bound and {} is missing", node.display());
        }
        Ok(())
    })?;
    guest.check("a device opens through container, group and device ioctls", |guest| {
        let [device, _] = &guest.bench.lone;
        let node = device.node()?;
        opener::open(&[group(&node, &[device.bdf()])])?.expect(&[
            format!("group {} viable", node.display()),
            format!("device {device} regions="),
            // The BAR of QEMU's hw/misc/edu.c has a mebibyte.
            format!("region {device} 0 size=1048576"),
            format!("config {device} 1234:11e8"),
            "dma 4096".to_owned(),
        ])
    })?;
    guest.check("devices of two groups open in one container", |guest| {
        let [one, other] = &guest.bench.lone;
        let groups = [group(&one.node()?, &[one.bdf()]), group(&other.node()?, &[other.bdf()])];
        opener::open(&groups)?.expect(&[format!("config {one} 1234:11e8"), format!("config {other} 1234:11e8")])
    })?;
    guest.check("a group that one process has open is busy for another", |guest| {
        let [device, _] = &guest.bench.lone;
        let node = device.node()?;
        let groups = [group(&node, &[device.bdf()])];
        let holder = Holder::open(&groups)?;
        let second = opener::open(&groups)?;
        ensure!(second.code == Some(4), "beside process {} a second one gets {second:?}", holder.pid());
        drop(holder);
        opener::open(&groups)?.expect(&[])
    })
}
