//! A kernel that is locked down lets nobody read its memory. It stays so until it is booted again: this comes last.

use crate::vm::Guest;
use crate::vm::actor::{Actor, Place};
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use crate::vm::report::Skip;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use vfiod_simulator::kubelet::Health;

/// `Documentation/admin-guide/LSM` and security/lockdown/lockdown.c of the kernel.
const SECURITY: &str = "/sys/kernel/security";
const LEVEL: &str = "/sys/kernel/security/lockdown";
/// What names the reason, in vfiod's own words.
const REASON: &str = "locked down (confidentiality)";

/// Locks the kernel down.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("locked down for confidentiality, vfiod says why it has no probe and follows groups", |guest| {
        lock()?;
        let mut node = Node::start(Setup { name: "lockdown", ..Setup::DEFAULT })?;
        node.agent.wait_for_log(REASON)?;
        let [device, _] = &guest.bench.lone;
        node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
        let by = node.holders()?.by;
        ensure!(by == "proc", "it asks {by}");
        let mut stranger = Actor::holding(Place::Here, &device.node()?, &[])?;
        node.wait_for_holders(device.bdf(), &[stranger.pid()])?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        stranger.close(&["group", "container"])?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)
    })?;
    guest.check("locked down for confidentiality, vfiod does not start when the probe is required", |_| {
        lock()?;
        let mut agent = Setup { name: "required", flags: &[("--probe", "require")], ..Setup::DEFAULT }.agent()?;
        let status = agent.wait()?;
        ensure!(!status.success(), "it ends with {status}");
        ensure!(agent.log().contains(REASON), "it does not say why:\n{}", agent.log());
        Ok(())
    })
}

fn lock() -> Result<()> {
    if !Path::new(LEVEL).exists() {
        let mount = std::process::Command::new("mount").args(["-t", "securityfs", "none", SECURITY]).status();
        let mounted = mount.context("cannot run mount")?.success();
        if !mounted || !Path::new(LEVEL).exists() {
            return Err(Skip("this kernel is built without CONFIG_SECURITY_LOCKDOWN_LSM".into()).into());
        }
    }
    let level = fs::read_to_string(LEVEL)?;
    match level.contains("[confidentiality]") {
        true => Ok(()),
        false => fs::write(LEVEL, "confidentiality").with_context(|| format!("{LEVEL} has {}", level.trim())),
    }
}
