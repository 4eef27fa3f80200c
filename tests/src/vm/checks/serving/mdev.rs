//! A mediated device from its creation to its removal.

use super::Serving;
use crate::vm::mdev::Mdev;
use crate::vm::modules;
use crate::vm::node::{MTTY, SOON};
use anyhow::{Result, ensure};
use vfiod_simulator::kubelet::Health;

const UUID: &str = "6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a02";

pub fn run(serving: &mut Serving<'_>) -> Result<()> {
    serving.check("a created mdev is served within 2 s, allocated and opened", |_, node| {
        modules::need_mtty()?;
        Mdev::create(UUID)?;
        node.wait_for_health(MTTY, UUID, Some(Health::Healthy), SOON)?;
        let pod = node.run_pod("mdev", MTTY, 1)?;
        let named = pod.named_by("MDEV_PCI_RESOURCE_KERNEL_ORG_MTTY")?;
        ensure!(named == [UUID], "its variable names {named:?}");
        pod.open()?.expect(&[format!("device {UUID} regions=")])
    })?;
    serving.check("a removed mdev is dropped within 2 s of the kubelet's freeing it", |_, node| {
        modules::need_mtty()?;
        Mdev::named(UUID).remove()?;
        node.free_ended_pods()?;
        node.wait_for_health(MTTY, UUID, None, SOON)
    })
}
