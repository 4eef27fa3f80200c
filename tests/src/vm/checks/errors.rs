//! PCI errors at the kubelet: a fatal one sticks to its device until an administrator clears it, others change nothing.

use crate::vm::Guest;
use crate::vm::aer::{Error, inject};
use crate::vm::node::{EVENTUALLY, Node, Setup};
use crate::vm::pci::Pci;
use crate::vm::wait;
use anyhow::{Result, ensure};
use rustix::process::Signal;
use std::time::Duration;
use vfiod_simulator::kubelet::Health;

const RNG: &str = "qemu.org/rng";
const SETUP: Setup = Setup {
    name: "errors",
    permits: &["{pciVendorSelector: '1AF4:1044', resourceName: qemu.org/rng}"],
    flags: &[("--probe", "require"), ("--state-dir", "/run/vfiod-errors")],
    ..Setup::DEFAULT
};
/// What `vfiod explain` says of a device with a fatal error.
const FATAL: &str = "fatal PCI error";
/// Longer than what changes nothing would take to change something.
const WHILE: Duration = Duration::from_secs(1);

/// Leaves the device unbound.
pub fn run(guest: &mut Guest) -> Result<()> {
    let device = guest.bench.express.clone();
    device.bind("vfio-pci")?;
    let mut node = Node::start(SETUP)?;
    let mut check = |sentence: &str, check: &dyn Fn(&mut Node, &Pci) -> Result<()>| {
        let (node, device) = (&mut node, &device);
        guest.check(&format!("[errors] {sentence}"), |_| check(node, device))
    };
    check(
        "corrected PCI errors, and such as are not fatal, are logged and leave a device healthy",
        &|node, device| {
            is(node, device, Health::Healthy)?;
            for (error, words) in
                [(Error::Corrected, "that the hardware has corrected"), (Error::NonFatal, "the device goes on")]
            {
                inject(device.bdf(), error)?;
                node.agent.wait_for_log(words)?;
            }
            stays(node, device, Health::Healthy)
        },
    )?;
    check(
        "a fatal PCI error makes a device unhealthy at the kubelet, and `vfiod explain` says why",
        &|node, device| {
            inject(device.bdf(), Error::Fatal)?;
            is(node, device, Health::Unhealthy)?;
            is_explained(node, device)?;
            stays(node, device, Health::Unhealthy)
        },
    )?;
    check("it is unhealthy for a vfiod that is killed and started again, from its first list on", &|node, device| {
        node.agent.signal(Signal::KILL)?;
        node.agent.wait()?;
        let known = node.kubelet.watch(RNG).len();
        node.start_agent()?;
        node.wait("a message has come", EVENTUALLY, |state| state.listings(RNG).len() > known)?;
        let first = node.kubelet.watch(RNG).get(known).map(|listing| (listing.healthy, listing.unhealthy));
        ensure!(first == Some((0, 1)), "the first list has (healthy, not): {first:?}");
        stays(node, device, Health::Unhealthy)
    })?;
    check("it is healthy as soon as an administrator clears it", &|node, device| {
        let said = node.vfiod(&["clear", device.bdf()])?;
        ensure!(said.contains(device.bdf()), "`vfiod clear` says {said:?}");
        is(node, device, Health::Healthy)?;
        stays(node, device, Health::Healthy)
    })?;
    check("a fatal error of a port makes the device below unhealthy until it is cleared", &|node, device| {
        inject(&device.parent()?, Error::Fatal)?;
        is(node, device, Health::Unhealthy)?;
        is_explained(node, device)?;
        node.vfiod(&["clear", device.bdf()])?;
        is(node, device, Health::Healthy)
    })?;
    check("a device that is bound anew, which resets it, is healthy without being cleared", &|node, device| {
        inject(device.bdf(), Error::Fatal)?;
        is(node, device, Health::Unhealthy)?;
        device.unbind()?;
        wait::until(EVENTUALLY, || {
            let faults = node.faults(device.bdf())?;
            ensure!(!faults.iter().any(|fault| fault.contains(FATAL)), "vfiod does not see it unbound: {faults:?}");
            Ok(())
        })?;
        device.bind("vfio-pci")?;
        is(node, device, Health::Healthy)
    })?;
    device.unbind()
}

fn is(node: &mut Node, device: &Pci, health: Health) -> Result<()> {
    node.wait_for_health(RNG, device.bdf(), Some(health), EVENTUALLY)
}

fn is_explained(node: &Node, device: &Pci) -> Result<()> {
    let faults = node.faults(device.bdf())?;
    ensure!(faults.iter().any(|fault| fault.contains(FATAL)), "`vfiod explain` says {faults:?}");
    Ok(())
}

fn stays(node: &mut Node, device: &Pci, health: Health) -> Result<()> {
    let changed = node.wait("its health changes", WHILE, |state| state.health(RNG, device.bdf()) != Some(health));
    ensure!(changed.is_err(), "{device} does not stay {health:?}");
    Ok(())
}
