//! Single devices, which only the kernel itself shows: `/proc` names groups.

use super::{ALL_FILES, Holding, open};
use crate::vm::actor::{Actor, Place};
use crate::vm::mdev::Mdev;
use crate::vm::modules;
use crate::vm::node::{EDU, EVENTUALLY, MTTY, Node};
use crate::vm::pci::Pci;
use crate::vm::storm::{Aftermath, Prize, Storm};
use crate::vm::wait;
use anyhow::{Result, ensure};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;
use vfiod_simulator::kubelet::Health;

const UUID: &str = "6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a04";
const SOCKET: &str = "/run/actor.sock";
/// How often a device is opened and closed in a storm.
const TIMES: u32 = 10_000;

pub fn run(holding: &mut Holding<'_>) -> Result<()> {
    holding.check("vfiod asks the kernel itself who has what open", |_, node| {
        node.wait_for_probe()?;
        node.agent.wait_for_log("the kernel probe follows opens and releases")
    })?;
    holding.check("a device is held when its group's descriptor is closed before its own", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, device)?;
        stranger.close(&["group", "container"])?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        node.stays_unhealthy(device)?;
        stranger.close(&["device"])?;
        node.wait_until_free(device)
    })?;
    holding.check(
        "who received a device over a socket holds it when the sender has closed everything",
        |guest, node| {
            let [device, _] = &guest.bench.lone;
            let (mut sender, mut receiver) = (Actor::start(Place::Here)?, Actor::start(Place::Apart)?);
            open(&mut sender, device)?;
            receiver.tell(&format!("listen {SOCKET}"))?;
            receiver.ask("take device")?;
            sender.tell(&format!("give device {SOCKET}"))?;
            receiver.answer("take device")?;
            sender.close(&ALL_FILES)?;
            node.wait_until_foreign(device, &[receiver.pid()])?;
            node.stays_unhealthy(device)?;
            receiver.kill()?;
            node.wait_until_free(device)
        },
    )?;
    holding.check("every open of a device counts, and a duplicate does not", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, device)?;
        let again = format!("device {device}");
        stranger.tell(&again)?;
        stranger.tell(&again)?;
        node.wait_for_count(device, Some(3))?;
        stranger.tell("dup device")?;
        node.wait_for_count(device, Some(3))?;
        stranger.close(&["device"])?;
        node.wait_for_count(device, Some(2))?;
        stranger.close(&["device", "device", "group", "container"])?;
        node.wait_until_free(device)
    })?;
    holding.check(
        "a device that is open when vfiod is killed is held when it is back, by just its holder",
        |guest, node| {
            let [device, _] = &guest.bench.lone;
            let mut stranger = Actor::start(Place::Here)?;
            open(&mut stranger, device)?;
            stranger.close(&["group", "container"])?;
            node.wait_until_foreign(device, &[stranger.pid()])?;
            node.agent.signal(Signal::KILL)?;
            node.agent.wait()?;
            node.start_agent()?;
            node.wait_until_foreign(device, &[stranger.pid()])?;
            node.wait_for_count(device, Some(1))?;
            stranger.close(&["device"])?;
            node.wait_until_free(device)
        },
    )?;
    holding.check("an mdev is held when its group's descriptor is closed before its own", |_, node| {
        modules::need_mtty()?;
        let mdev = Mdev::create(UUID)?;
        node.wait_for_health(MTTY, UUID, Some(Health::Healthy), EVENTUALLY)?;
        let mut stranger = Actor::start(Place::Here)?;
        stranger.open(&mdev.node()?, &[UUID])?;
        stranger.close(&["group", "container"])?;
        node.wait_for_holders(UUID, &[stranger.pid()])?;
        node.wait_for_health(MTTY, UUID, Some(Health::Unhealthy), EVENTUALLY)?;
        stranger.close(&["device"])?;
        node.wait_for_health(MTTY, UUID, Some(Health::Healthy), EVENTUALLY)?;
        mdev.remove()?;
        node.wait_for_health(MTTY, UUID, None, EVENTUALLY)
    })?;
    nodes(holding)?;
    for processes in [8, 24] {
        let sentence =
            format!("after {TIMES} opens and closes by {processes} processes vfiod's count is the exact one");
        holding.check(&sentence, |guest, node| {
            let [device, _] = &guest.bench.lone;
            let storm = Storm::raise(Prize::Device, device, processes, TIMES)?;
            let Aftermath { kept, .. } = storm.wait()?;
            node.wait_for_count(device, Some(kept))?;
            node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
            drop(storm);
            node.wait_until_free(device)
        })?;
    }
    holding.check("a device that is unplugged while it is open is unhealthy before it is closed", |guest, node| {
        let device = guest.bench.in_port.clone();
        let count = guest.bench.all().count();
        node.wait_for_healthy(EDU, count, EVENTUALLY)?;
        // A pod owns it, so that nothing but its removal makes it unhealthy.
        let pod = node.run_pod("unlucky", EDU, count)?;
        let mut holder = Actor::start(Place::Here)?;
        open(&mut holder, &device)?;
        guest.port.unplug("early")?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        node.wait_for_count(&device, Some(1))?;
        holder.close(&ALL_FILES)?;
        device.wait_until_gone()?;
        drop(pod);
        node.free_ended_pods()?;
        guest.port.plug("early", "port-full")?;
        device.wait_until_there()?;
        device.bind("vfio-pci")?;
        node.wait_for_healthy(EDU, count, EVENTUALLY)
    })
}

/// Devices that are opened by nodes of their own, which kernels without IOMMUFD do not have: Debian's, so far.
fn nodes(holding: &mut Holding<'_>) -> Result<()> {
    if !Path::new("/dev/iommu").exists() {
        return holding.guest.port.say("show this kernel is built without IOMMUFD: no device has a node of its own");
    }
    holding.check("a device that is opened by its own node is held until it is closed", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Apart)?;
        stranger.tell(&format!("cdev {}", device.own_node()?.display()))?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        node.wait_for_count(device, Some(1))?;
        node.stays_unhealthy(device)?;
        stranger.close(&["cdev"])?;
        node.wait_until_free(device)
    })?;
    holding.check("what a killed process had open by a device's own node is free", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        stranger.tell(&format!("cdev {}", device.own_node()?.display()))?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        stranger.kill()?;
        node.wait_until_free(device)
    })
}

impl Node {
    /// Waits until vfiod says that `device` is open this often.
    fn wait_for_count(&self, device: &Pci, count: Option<u32>) -> Result<()> {
        wait::until(EVENTUALLY, || {
            let holders = self.holders()?;
            let found = holders.open_count(device.bdf());
            ensure!(found == count, "{device} is open {count:?} times, and vfiod says {found:?}: {holders:?}");
            Ok(())
        })
    }

    /// Fails when the kubelet has `device` healthy within a second.
    fn stays_unhealthy(&mut self, device: &Pci) -> Result<()> {
        let free = self.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), Duration::from_secs(1));
        ensure!(free.is_err(), "the kubelet has {device} as healthy while it is open");
        Ok(())
    }
}
