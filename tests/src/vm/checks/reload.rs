//! VFIO's modules come after vfiod, go, and come again.

use crate::vm::Guest;
use crate::vm::actor::{Actor, Place};
use crate::vm::modules;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use anyhow::{Result, ensure};
use vfiod_simulator::kubelet::Health;

/// Leaves everything loaded and bound.
pub fn run(guest: &mut Guest) -> Result<()> {
    let mut node = None;
    guest.check("vfiod follows the modules of VFIO that are loaded after it has started", |guest| {
        modules::need_loadable()?;
        unload(guest)?;
        let mut started = Node::start(Setup { name: "reload", ..Setup::DEFAULT })?;
        started.agent.wait_for_log("the kernel probe waits for VFIO's modules")?;
        load(guest)?;
        started.agent.wait_for_log("the kernel probe follows opens and releases")?;
        follows(guest, &mut started)?;
        node = Some(started);
        Ok(())
    })?;
    guest.check("vfiod follows modules of VFIO that were removed and loaded again", |guest| {
        modules::need_loadable()?;
        let mut node = node.take().map_or_else(|| Node::start(Setup { name: "reload", ..Setup::DEFAULT }), Ok)?;
        for _ in 0..2 {
            unload(guest)?;
            node.wait("no device is healthy", EVENTUALLY, |state| state.allocatable(EDU) == 0)?;
            load(guest)?;
            follows(guest, &mut node)?;
        }
        Ok(())
    })
}

/// A device that is open in a way that only the probe sees is held, and free when it is closed.
pub fn follows(guest: &Guest, node: &mut Node) -> Result<()> {
    let [device, _] = &guest.bench.lone;
    node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
    let mut stranger = Actor::holding(Place::Here, &device.node()?, &[device.bdf()])?;
    stranger.close(&["group", "container"])?;
    node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
    let holders = node.wait_for_holders(device.bdf(), &[stranger.pid()])?;
    ensure!(holders.iter().all(|holder| holder.relation == "foreign"), "not foreign: {holders:?}");
    stranger.close(&["device"])?;
    node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)
}

pub fn unload(guest: &Guest) -> Result<()> {
    guest.bench.all().try_for_each(|device| device.unbind())?;
    modules::unload()
}

pub fn load(guest: &Guest) -> Result<()> {
    modules::load()?;
    guest.bench.all().try_for_each(|device| device.bind("vfio-pci"))
}
