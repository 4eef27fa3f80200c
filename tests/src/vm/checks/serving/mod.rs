//! `vfiod run` serves the machine's devices to a kubelet: all of it once on io_uring and once without.

use crate::vm::Guest;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use anyhow::{Result, ensure};

mod allocation;
mod binding;
mod groups;
mod hotplug;
mod life;
mod mdev;

/// The daemon with `--io uring`.
pub fn with_uring(guest: &mut Guest) -> Result<()> {
    run(guest, Setup { name: "uring", flags: &[("--io", "uring")], ..Setup::DEFAULT }, true)
}

/// The daemon with `--io plain`.
pub fn without(guest: &mut Guest) -> Result<()> {
    run(guest, Setup { name: "plain", flags: &[("--io", "plain")], ..Setup::DEFAULT }, false)
}

fn run(guest: &mut Guest, setup: Setup, ring: bool) -> Result<()> {
    let mut serving = Serving { guest, node: Node::start(setup)?, io: setup.name };
    serving.check("vfiod registers, and lists every device of the machine by its address", |guest, node| {
        let devices: Vec<&str> = guest.bench.all().map(|device| device.bdf()).collect();
        node.wait_for_healthy(EDU, devices.len(), EVENTUALLY)?;
        let listed = node.kubelet.devices(EDU);
        ensure!(devices.iter().all(|device| listed.contains_key(*device)), "{listed:?} are not {devices:?}");
        let has_ring = node.has_ring()?;
        ensure!(has_ring == ring, "with an io_uring: {has_ring}");
        Ok(())
    })?;
    binding::run(&mut serving)?;
    groups::viability(&mut serving)?;
    hotplug::run(&mut serving)?;
    mdev::run(&mut serving)?;
    allocation::run(&mut serving)?;
    groups::sharing(&mut serving)?;
    life::run(&mut serving)
}

/// A guest in which vfiod serves.
struct Serving<'a> {
    guest: &'a mut Guest,
    node: Node,
    io: &'static str,
}

impl Serving<'_> {
    /// As [`Guest::check`]; the sentence says how vfiod runs.
    fn check(&mut self, sentence: &str, check: impl FnOnce(&mut Guest, &mut Node) -> Result<()>) -> Result<()> {
        let sentence = format!("[{}] {sentence}", self.io);
        let node = &mut self.node;
        self.guest.check(&sentence, |guest| check(guest, node))
    }
}
