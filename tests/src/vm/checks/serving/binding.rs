//! Drivers that let go of a device and take it again.

use super::Serving;
use crate::vm::node::{EDU, SOON};
use anyhow::Result;
use vfiod_simulator::kubelet::Health;

pub fn run(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("an unbound device is unhealthy within 2 s, and healthy again within 2 s", |guest, node| {
        let [device, _] = guest.bench.lone.clone();
        device.unbind()?;
        let gone = node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), SOON);
        let explained = node.explained(device.bdf());
        device.bind("vfio-pci")?;
        gone?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), SOON)?;
        explained?.expect("DriverUnbound", &[])
    })?;
    serving.check("a device that moves to a host driver is unhealthy, and healthy when it is back", |guest, node| {
        let [device, _] = guest.bench.lone.clone();
        device.bind("uio_pci_generic")?;
        let gone = node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), SOON);
        let explained = node.explained(device.bdf());
        device.bind("vfio-pci")?;
        gone?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), SOON)?;
        explained?.expect("HostDriver", &["uio_pci_generic"])
    })
}
