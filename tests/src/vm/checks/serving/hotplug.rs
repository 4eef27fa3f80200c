//! Devices that go and come.

use super::Serving;
use crate::vm::node::{EDU, EVENTUALLY, SOON};
use crate::vm::opener::{self, Holder, group};
use crate::vm::wait;
use anyhow::{Result, ensure};
use vfiod_simulator::kubelet::Health;

pub fn run(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("an unplugged device is dropped from the list within 2 s of its end", |guest, node| {
        let device = guest.bench.in_port.clone();
        guest.port.unplug("early")?;
        device.wait_until_gone()?;
        node.wait_for_health(EDU, device.bdf(), None, SOON)?;
        node.wait_for_healthy(EDU, guest.bench.all().count() - 1, SOON)
    })?;
    serving.check("a plugged device is listed within 2 s of being bound, and opens", |guest, node| {
        let device = guest.bench.in_port.clone();
        guest.port.plug("early", "port-full")?;
        device.wait_until_there()?;
        device.bind("vfio-pci")?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), SOON)?;
        let groups = [group(&device.node()?, &[device.bdf()])];
        opener::open(&groups)?.expect(&[format!("config {device} 1234:11e8")])?;
        // It was nobody's that vfiod knows. Until vfiod has told the kubelet of that, and of its end, the next pod may ask for a
        // device that will not be given.
        let stranger = Holder::open(&groups)?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        drop(stranger);
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)
    })?;
    serving.check(
        "a device unplugged while its pod has it open is kept, unhealthy, until the pod ends",
        |guest, node| {
            let device = guest.bench.in_port.clone();
            let count = guest.bench.all().count();
            node.wait_for_healthy(EDU, count, EVENTUALLY)?;
            // The pod has everything, so it has this device.
            let pod = node.run_pod("unlucky", EDU, count)?;
            let holder = pod.hold()?;
            guest.port.unplug("early")?;
            wait::until(EVENTUALLY, || {
                ensure!(device.driver().is_none(), "{device} is bound");
                Ok(())
            })?;
            // The kernel waits for the holder before it takes the device away.
            drop(holder);
            device.wait_until_gone()?;
            node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), SOON)?;
            drop(pod);
            node.free_ended_pods()?;
            node.wait_for_health(EDU, device.bdf(), None, SOON)?;
            guest.port.plug("early", "port-full")?;
            device.wait_until_there()?;
            device.bind("vfio-pci")?;
            node.wait_for_healthy(EDU, count, EVENTUALLY)
        },
    )
}
