//! Who has a device open: what `vfiod holders` says, and what the kubelet is told of it.

use crate::vm::Guest;
use crate::vm::actor::Actor;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use crate::vm::pci::Pci;
use anyhow::{Result, ensure};
use vfiod_simulator::kubelet::Health;

mod devices;
mod passing;
mod pods;

/// All of it.
pub fn run(guest: &mut Guest) -> Result<()> {
    let mut holding = Holding { guest, node: Node::start(Setup { name: "holders", ..Setup::DEFAULT })? };
    holding.check("vfiod lists every device healthy while nobody has one open", |guest, node| {
        node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
        node.wait_for_holders(guest.bench.lone[0].bdf(), &[]).map(drop)
    })?;
    passing::run(&mut holding)?;
    devices::run(&mut holding)?;
    pods::run(&mut holding)
}

/// A guest in which vfiod watches.
struct Holding<'a> {
    guest: &'a mut Guest,
    node: Node,
}

impl Holding<'_> {
    /// As [`Guest::check`].
    fn check(&mut self, sentence: &str, check: impl FnOnce(&mut Guest, &mut Node) -> Result<()>) -> Result<()> {
        let node = &mut self.node;
        self.guest.check(&format!("[holders] {sentence}"), |guest| check(guest, node))
    }
}

impl Node {
    /// Waits until just these processes hold `device`, all of no pod, and the kubelet knows it.
    fn wait_until_foreign(&mut self, device: &Pci, pids: &[u32]) -> Result<()> {
        let holders = self.wait_for_holders(device.bdf(), pids)?;
        ensure!(holders.iter().all(|holder| holder.relation == "foreign"), "not foreign: {holders:?}");
        self.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)
    }

    /// Waits until nobody holds `device`, and the kubelet knows it.
    fn wait_until_free(&mut self, device: &Pci) -> Result<()> {
        self.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)?;
        self.wait_for_holders(device.bdf(), &[]).map(drop)
    }
}

/// Everything that an actor can have open of one device, the device first.
const ALL_FILES: [&str; 3] = ["device", "group", "container"];

/// Has `actor` open `device`.
fn open(actor: &mut Actor, device: &Pci) -> Result<()> {
    actor.open(&device.node()?, &[device.bdf()])
}
