//! `vfiod run --pin`: the probe outlives the daemon, and is never attached twice.

use super::reload;
use crate::vm::Guest;
use crate::vm::actor::{Actor, Place};
use crate::vm::aer::{Error, inject};
use crate::vm::modules;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use crate::vm::wait;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use vfiod_simulator::kubelet::Health;

const BPFFS: &str = "/sys/fs/bpf";
const PINS: &str = "/sys/fs/bpf/vfiod";
const DEBUGFS: &str = "/sys/kernel/debug";
/// Every kprobe, a line each (`Documentation/trace/kprobes.rst`).
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
const SETUP: Setup = Setup {
    name: "pins",
    permits: &["{pciVendorSelector: '1AF4:1044', resourceName: qemu.org/rng}"],
    flags: &[("--probe", "require"), ("--pin", PINS), ("--state-dir", "/run/vfiod-pins")],
    ..Setup::DEFAULT
};
/// One with a state folder of its own, so that it can be asked while the other one lives.
const SECOND: Setup = Setup {
    name: "pins-second",
    flags: &[("--probe", "require"), ("--pin", PINS), ("--state-dir", "/run/vfiod-pins-second")],
    ..SETUP
};
const RNG: &str = "qemu.org/rng";
const TAKEN_OVER: &str = "the pinned kernel probe is taken over";

/// Leaves nothing attached, and every device as it was.
pub fn run(guest: &mut Guest) -> Result<()> {
    mount("bpf", BPFFS)?;
    mount("debugfs", DEBUGFS)?;
    let express = guest.bench.express.clone();
    express.bind("vfio-pci")?;
    let mut node = Node::start(SETUP)?;
    let mut hooks = Vec::new();
    guest.check("[pins] with --pin vfiod follows opens and releases", |guest| {
        follows(guest, &mut node)?;
        hooks = kprobes()?;
        ensure!(!hooks.is_empty(), "{KPROBES} names no function of VFIO");
        Ok(())
    })?;
    guest.check("[pins] the probe goes on while vfiod is dead, and the next one tells what happened", |guest| {
        let [one, other] = &guest.bench.lone;
        kill(&mut node)?;
        same(&hooks)?;
        let mut gone = Actor::holding(Place::Here, &one.node()?, &[one.bdf()])?;
        let stays = Actor::holding(Place::Here, &other.node()?, &[other.bdf()])?;
        let gone_pid = gone.pid();
        gone.kill()?;
        inject(express.bdf(), Error::Fatal)?;
        node.start_agent()?;
        node.agent.wait_for_log(TAKEN_OVER)?;
        for word in ["opened", "closed"] {
            node.agent.wait_for_log(&format!("{word} by process {gone_pid} (vfio-actor)"))?;
        }
        node.wait_for_holders(one.bdf(), &[])?;
        node.wait_for_holders(other.bdf(), &[stays.pid()])?;
        node.wait_for_health(EDU, one.bdf(), Some(Health::Healthy), EVENTUALLY)?;
        node.wait_for_health(EDU, other.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        // Nobody listened when it broke.
        node.wait_for_health(RNG, express.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        node.vfiod(&["clear", express.bdf()])?;
        drop(stays);
        same(&hooks)?;
        follows(guest, &mut node)
    })?;
    guest.check("[pins] a vfiod that ends in good order leaves the probe, too", |guest| {
        node.agent.terminate()?;
        same(&hooks)?;
        node.start_agent()?;
        node.agent.wait_for_log(TAKEN_OVER)?;
        same(&hooks)?;
        follows(guest, &mut node)
    })?;
    guest.check(
        "[pins] a second vfiod runs beside the owner of the pins, and takes them when that one ends",
        |guest| {
            let mut second = Node::start(SECOND)?;
            second.agent.wait_for_log("another vfiod owns the pins")?;
            second.wait_for_probe()?;
            ensure!(kprobes()?.len() > hooks.len(), "the second one has attached nothing");
            follows(guest, &mut second)?;
            kill(&mut node)?;
            second.agent.wait_for_log(TAKEN_OVER)?;
            wait::until(EVENTUALLY, || same(&hooks))?;
            follows(guest, &mut second)?;
            second.agent.terminate()?;
            node.start_agent()?;
            node.agent.wait_for_log(TAKEN_OVER)
        },
    )?;
    guest.check(
        "[pins] VFIO's modules that come again while vfiod is dead are followed, and the old hooks removed",
        |guest| {
            modules::need_loadable()?;
            kill(&mut node)?;
            express.unbind()?;
            reload::unload(guest)?;
            reload::load(guest)?;
            node.start_agent()?;
            follows(guest, &mut node)?;
            wait::until(EVENTUALLY, || same(&hooks))
        },
    )?;
    guest.check(
        "[pins] VFIO's modules that come again while vfiod runs are followed, and the old hooks removed",
        |guest| {
            modules::need_loadable()?;
            reload::unload(guest)?;
            node.wait("no device is healthy", EVENTUALLY, |state| state.allocatable(EDU) == 0)?;
            reload::load(guest)?;
            follows(guest, &mut node)?;
            wait::until(EVENTUALLY, || same(&hooks))
        },
    )?;
    guest.check("[pins] removing the pins of a vfiod that is dead detaches the probe", |_| {
        kill(&mut node)?;
        fs::remove_dir_all(PINS)?;
        wait::until(EVENTUALLY, || same(&[]))
    })?;
    guest.check("[pins] a vfiod without --pin removes what was pinned, and its own probe ends with it", |guest| {
        node.start_agent()?;
        follows(guest, &mut node)?;
        kill(&mut node)?;
        same(&hooks)?;
        let mut plain = Node::start(Setup { name: "pins-plain", flags: &[("--probe", "require")], ..SETUP })?;
        plain.agent.wait_for_log("removed the kernel probe that an earlier vfiod has pinned")?;
        follows(guest, &mut plain)?;
        // The kernel takes its time to forget a hook that is removed.
        wait::until(EVENTUALLY, || same(&hooks))?;
        plain.agent.terminate()?;
        wait::until(EVENTUALLY, || same(&[]))
    })?;
    guest.check(
        "[pins] where no BPF file system is, vfiod says so and runs with a probe that is not pinned",
        |guest| {
            let flags = &[("--probe", "require"), ("--pin", "/run/vfiod-no-bpffs")];
            let mut node = Node::start(Setup { name: "pins-nowhere", flags, ..SETUP })?;
            node.agent.wait_for_log("mount -t bpf bpf /sys/fs/bpf")?;
            follows(guest, &mut node)?;
            ensure!(!Path::new("/run/vfiod-no-bpffs").exists(), "it has made the folder");
            node.agent.terminate()?;
            wait::until(EVENTUALLY, || same(&[]))
        },
    )?;
    drop(node);
    express.unbind()
}

/// A device that is open in a way that only the probe sees is held, and free when it is closed.
fn follows(guest: &Guest, node: &mut Node) -> Result<()> {
    node.wait_for_probe()?;
    reload::follows(guest, node)
}

fn kill(node: &mut Node) -> Result<()> {
    node.agent.signal(Signal::KILL)?;
    node.agent.wait().map(drop)
}

/// Fails unless just these kprobes are there.
fn same(hooks: &[String]) -> Result<()> {
    let now = kprobes()?;
    ensure!(now == hooks, "there should be {} kprobes, and there are {}: {now:?}", hooks.len(), now.len());
    Ok(())
}

/// The kprobes on functions of VFIO: kind and place, sorted.
fn kprobes() -> Result<Vec<String>> {
    let list = fs::read_to_string(KPROBES).with_context(|| format!("cannot read {KPROBES}"))?;
    let of_vfio = list.lines().filter(|line| line.contains("vfio"));
    // An address, `k` or `r`, the place, the module, and what state it is in.
    let mut found: Vec<String> =
        of_vfio.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")).collect();
    found.sort();
    Ok(found)
}

/// Mounts a file system of the kernel's own, unless it is there.
pub fn mount(kind: &str, folder: &str) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    if mounts.lines().any(|line| line.split_whitespace().nth(1) == Some(folder)) {
        return Ok(());
    }
    let status = Command::new("mount").args(["-t", kind, "none", folder]).status().context("cannot run mount")?;
    ensure!(status.success(), "{kind} cannot be mounted on {folder}");
    Ok(())
}
