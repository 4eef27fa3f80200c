//! A file that is open stays so for as long as any process has it, however it came by it.

use super::{ALL_FILES, Holding, open};
use crate::vm::actor::{self, Actor, Place};
use crate::vm::mdev::Mdev;
use crate::vm::modules;
use crate::vm::node::{EDU, EVENTUALLY, MTTY};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use vfiod_simulator::kubelet::Health;

const UUID: &str = "6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a03";
/// Where a descriptor is passed.
const SOCKET: &str = "/run/actor.sock";

pub fn run(holding: &mut Holding<'_>) -> Result<()> {
    holding.check("a device is unhealthy from a stranger's opening it until he has closed it", |guest, node| {
        let [device, other] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, device)?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        let faults = node.faults(device.bdf())?;
        let named = format!("process {}", stranger.pid());
        ensure!(faults.iter().any(|fault| fault.contains(&named)), "`vfiod explain` does not name {named}: {faults:?}");
        ensure!(node.kubelet.look(|state| state.health(EDU, other.bdf())) == Some(Health::Healthy), "{other} is not");
        stranger.close(&ALL_FILES)?;
        node.wait_until_free(device)
    })?;
    holding.check("a holder in namespaces of its own is shown by its pid on the host", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Apart)?;
        open(&mut stranger, device)?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        stranger.close(&ALL_FILES)?;
        node.wait_until_free(device)
    })?;
    holding.check("what a killed process had open is free", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, device)?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        stranger.kill()?;
        node.wait_until_free(device)
    })?;
    holding.check("a forked child holds what its parent has closed", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut parent = Actor::start(Place::Here)?;
        open(&mut parent, device)?;
        let child = parent.tell("fork")?.context("a fork without a pid")?;
        node.wait_until_foreign(device, &[parent.pid(), child])?;
        parent.close(&ALL_FILES)?;
        node.wait_until_foreign(device, &[child])?;
        actor::kill(child)?;
        node.wait_until_free(device)
    })?;
    holding.check("who received a group over a socket holds it when the sender has closed it", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let (mut sender, mut receiver) = (Actor::start(Place::Here)?, Actor::start(Place::Here)?);
        open(&mut sender, device)?;
        receiver.tell(&format!("listen {SOCKET}"))?;
        receiver.ask("take group")?;
        sender.tell(&format!("give group {SOCKET}"))?;
        receiver.answer("take group")?;
        sender.close(&ALL_FILES)?;
        node.wait_until_foreign(device, &[receiver.pid()])?;
        receiver.close(&["group"])?;
        node.wait_until_free(device)
    })?;
    holding.check("a duplicate keeps a device open when the first descriptor is closed", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, device)?;
        ALL_FILES.iter().try_for_each(|file| stranger.tell(&format!("dup {file}")).map(drop))?;
        node.wait_until_foreign(device, &[stranger.pid()])?;
        let free = node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), Duration::from_secs(1));
        ensure!(free.is_err(), "{device} is free while {} has it open", stranger.pid());
        stranger.close(&ALL_FILES)?;
        node.wait_until_free(device)
    })?;
    holding.check("a member of a group that is open is unhealthy although nobody opened it", |guest, node| {
        let [one, other] = &guest.bench.pair;
        let mut stranger = Actor::start(Place::Here)?;
        open(&mut stranger, one)?;
        node.wait_until_foreign(one, &[stranger.pid()])?;
        node.wait_for_health(EDU, other.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        stranger.close(&ALL_FILES)?;
        node.wait_until_free(one)?;
        node.wait_until_free(other)
    })?;
    holding.check("an mdev that a stranger has open is unhealthy until he has closed it", |_, node| {
        modules::need_mtty()?;
        let mdev = Mdev::create(UUID)?;
        node.wait_for_health(MTTY, UUID, Some(Health::Healthy), EVENTUALLY)?;
        let mut stranger = Actor::start(Place::Here)?;
        stranger.open(&mdev.node()?, &[UUID])?;
        let holders = node.wait_for_holders(UUID, &[stranger.pid()])?;
        ensure!(holders.iter().all(|holder| holder.relation == "foreign"), "not foreign: {holders:?}");
        node.wait_for_health(MTTY, UUID, Some(Health::Unhealthy), EVENTUALLY)?;
        stranger.close(&ALL_FILES)?;
        node.wait_for_health(MTTY, UUID, Some(Health::Healthy), EVENTUALLY)?;
        mdev.remove()?;
        node.wait_for_health(MTTY, UUID, None, EVENTUALLY)
    })?;
    holding.check("what was open before vfiod started is unhealthy in its first list", |guest, node| {
        let [device, _] = &guest.bench.lone;
        let count = guest.bench.all().count();
        let mut stranger = Actor::start(Place::Here)?;
        node.agent.signal(rustix::process::Signal::KILL)?;
        node.agent.wait()?;
        open(&mut stranger, device)?;
        let known = node.kubelet.watch(EDU).len();
        node.start_agent()?;
        node.wait("a message has come", EVENTUALLY, |state| state.listings(EDU).len() > known)?;
        let first = node.kubelet.watch(EDU).get(known).map(|listing| (listing.healthy, listing.unhealthy));
        node.wait_until_foreign(device, &[stranger.pid()])?;
        // On a machine that is too busy for the kubelet to be heard within a second, nobody is accused so early.
        let heard = !node.agent.log().contains("has not answered within");
        ensure!(!heard || first == Some((count - 1, 1)), "the first list has (healthy, not): {first:?}");
        stranger.close(&ALL_FILES)?;
        node.wait_until_free(device)
    })
}
