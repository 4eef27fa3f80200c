//! The probe with the least capabilities that the kernel lets it do with (docs/PROBE.md).

use super::reload;
use crate::vm::Guest;
use crate::vm::actor::{Actor, Place};
use crate::vm::modules;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use anyhow::{Context, Result, ensure};
use std::fs;
use vfiod_simulator::kubelet::Health;

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// Leaves the kernel as paranoid as it was.
pub fn run(guest: &mut Guest) -> Result<()> {
    with_paranoid("2", || {
        let mut node = None;
        guest.check("CAP_BPF and CAP_PERFMON suffice where perf_event_paranoid is 2", |guest| {
            let under = &["setpriv", "--bounding-set", "-all,+bpf,+perfmon"];
            let mut started = Node::start(Setup { name: "bpf", under, ..Setup::DEFAULT })?;
            started.agent.wait_for_log("CAP_BPF (loads the probe) and CAP_PERFMON")?;
            reload::follows(guest, &mut started)?;
            node = Some(started);
            Ok(())
        })?;
        let Some(mut node) = node else { return Ok(()) };
        guest.check("CAP_BPF and CAP_PERFMON suffice, also when VFIO's modules come back", |guest| {
            modules::need_loadable()?;
            reload::unload(guest)?;
            reload::load(guest)?;
            reload::follows(guest, &mut node)
        })
    })?;
    guest.check("CAP_SYS_ADMIN suffices where perf_event_paranoid is 3", |guest| {
        with_paranoid("3", || {
            let under = &["setpriv", "--bounding-set", "-all,+sys_admin"];
            let mut node = Node::start(Setup { name: "admin", under, ..Setup::DEFAULT })?;
            node.agent.wait_for_log("CAP_SYS_ADMIN (loads and attaches the probe)")?;
            reload::follows(guest, &mut node)
        })
    })?;
    guest.check("without capabilities vfiod names those that it needs, and follows groups", |guest| {
        let under = &["setpriv", "--bounding-set", "-all"];
        let mut node = Node::start(Setup { name: "bare", under, ..Setup::DEFAULT })?;
        node.agent.wait_for_log("this process lacks the capabilities")?;
        let [device, _] = &guest.bench.lone;
        node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
        // As privileged as vfiod: of those that are more so, /proc shows it nothing.
        let mut stranger = Actor::under(under, Place::Here)?;
        stranger.open(&device.node()?, &[])?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        let by = node.holders()?.by;
        ensure!(by == "proc", "it asks {by}");
        stranger.close(&["group", "container"])?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)
    })
}

fn with_paranoid(level: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = fs::read_to_string(PARANOID).with_context(|| format!("cannot read {PARANOID}"))?;
    fs::write(PARANOID, level).with_context(|| format!("{PARANOID} does not become {level}"))?;
    let outcome = check();
    fs::write(PARANOID, before.trim())?;
    outcome
}
