//! What a pod is given, opened as a virtual machine monitor opens it.

use super::Serving;
use crate::vm::node::{EDU, EVENTUALLY, SOON};
use anyhow::{Result, ensure};

pub fn run(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("a pod gets one device, its variables and just its paths, and opens it by them", |_, node| {
        let pod = node.run_pod("one", EDU, 1)?;
        let ids = pod.ids();
        ensure!(ids.len() == 1, "it was given {ids:?}");
        for variable in ["PCI_RESOURCE_QEMU_ORG_EDU", "PCI_RESOURCE_QEMU_ORG_edu"] {
            let named = pod.named_by(variable)?;
            ensure!(named == ids, "{variable} names {named:?}, not {ids:?}");
        }
        pod.open()?.expect(&configs(&ids))
    })?;
    serving.check("a device stays healthy while its pod has it open", |guest, node| {
        let count = guest.bench.all().count();
        node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        let pod = node.run_pod("holder", EDU, 1)?;
        let holder = pod.hold()?;
        let unhealthy = node.wait("a device is unhealthy", SOON, |state| state.allocatable(EDU) < count);
        drop(holder);
        ensure!(unhealthy.is_err(), "one became unhealthy: {:?}", node.kubelet.devices(EDU));
        Ok(())
    })?;
    serving.check("a pod that asks for all devices opens them all in one container", |guest, node| {
        let count = guest.bench.all().count();
        node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        let pod = node.run_pod("all", EDU, count)?;
        let ids = pod.ids();
        ensure!(ids.len() == count, "it was given {ids:?}");
        pod.open()?.expect(&configs(&ids))
    })
}

/// What the kernel says of `ids` when they are open.
fn configs(ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| format!("config {id} 1234:11e8")).collect()
}
