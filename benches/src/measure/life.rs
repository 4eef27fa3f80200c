//! Starts, restarts of the kubelet, doing nothing, and looking again.

use super::{Effort, Subject, Value, read_list};
use crate::{
    host::Host,
    kubelet::{Kubelet, Plugin},
    server::{Contestant, Server},
    uevents::Uevents,
};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a kubelet is gone when it restarts.
const GONE: Duration = Duration::from_millis(300);
/// How long a server is left alone after work before it counts as doing nothing.
const SETTLE: Duration = Duration::from_millis(1500);

/// Starts a server; measures until the kubelet has its first full list.
///
/// # Errors
/// When it does not register, or lists something else than the host has.
pub fn start(
    contestant: &Contestant,
    host: &Host,
    kubelet: &mut Kubelet,
    kubelet_dir: &Path,
) -> Result<(Server, Plugin, Vec<String>, f64)> {
    let begun = Instant::now();
    let server = contestant.start(host, kubelet_dir)?;
    let registered = kubelet.accept().and_then(|mut plugin| {
        plugin.client.next_list()?;
        Ok(plugin)
    });
    let took = begun.elapsed();
    let plugin = registered.with_context(|| format!("{} said:\n{}", contestant.name, server.said()))?;
    let (ids, ill) = read_list(plugin.client.list())?;
    ensure!(
        ids.len() == host.devices / host.resources.len() && ill == 0,
        "{} lists {} devices, {ill} of them unhealthy; the host has {}",
        contestant.name,
        ids.len(),
        host.devices
    );
    Ok((server, plugin, ids, took.as_secs_f64() * 1e3))
}

/// Restarts the kubelet of a host with many resources; measures until it has all lists again.
///
/// # Errors
/// When a resource does not come back.
pub fn restarts(contestant: &Contestant, host: &Host, times: usize) -> Result<Vec<f64>> {
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let server = contestant.start(host, kubelet_dir.path())?;
    let mut plugins = all_plugins(&mut kubelet, host)?;
    let mut took = Vec::new();
    for _ in 0..times {
        sleep(SETTLE);
        drop(plugins); // the old kubelet's connections end with it
        kubelet_is_gone(&mut kubelet);
        let begun = Instant::now();
        kubelet.restart()?;
        plugins =
            all_plugins(&mut kubelet, host).with_context(|| format!("{} said:\n{}", contestant.name, server.said()))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    server.stop()?;
    Ok(took)
}

/// The end of one kubelet, and the time until another one.
pub(crate) fn kubelet_is_gone(kubelet: &mut Kubelet) {
    kubelet.end();
    sleep(GONE);
}

/// Leaves a server alone until what it has put off is done.
pub(crate) fn settle() {
    sleep(Duration::from_millis(100));
}

/// How often is looked whether anything was woken: threads that wake each other for one thing are one wake-up of the host.
const GLANCE: Duration = Duration::from_millis(200);

/// Takes the registrations of all resources of a host, and their lists; in the order of the resources.
///
/// # Errors
/// When one does not come.
pub(crate) fn all_plugins(kubelet: &mut Kubelet, host: &Host) -> Result<Vec<Plugin>> {
    let mut plugins: Vec<Plugin> = Vec::new();
    while plugins.len() < host.resources.len() {
        let plugin = kubelet.accept()?;
        plugins.retain(|other| other.resource != plugin.resource);
        plugins.push(plugin);
    }
    for plugin in &mut plugins {
        plugin.client.next_list()?;
    }
    plugins.sort_by(|one, other| one.resource.cmp(&other.resource));
    Ok(plugins)
}

/// Waits until a server has no work left.
///
/// # Errors
/// When it is gone.
pub fn until_idle(server: &Server) -> Result<()> {
    let mut ticks = server.counters()?.ticks;
    loop {
        sleep(Duration::from_millis(150));
        let now = server.counters()?.ticks;
        if now == ticks {
            return Ok(());
        }
        ticks = now;
    }
}

/// Counts what a server does while nothing happens.
///
/// # Errors
/// When it is gone.
pub fn idle(subject: &Subject<'_>, effort: Effort) -> Result<Vec<Value>> {
    sleep(effort.idle_after);
    let before = subject.server.counters()?;
    let (uevents, begun, mut last, mut moments, mut awake) =
        (Uevents::listen()?, Instant::now(), before.clone(), 0, false);
    while begun.elapsed() < Duration::from_secs(effort.idle_seconds) {
        sleep(GLANCE);
        let (now, told) = (subject.server.counters()?, uevents.come()?);
        // What the host tells wakes it by right.
        let woken = now.wakes_since(&last) > 0 && told == 0;
        moments += u32::from(woken && !awake);
        (awake, last) = (woken, now);
    }
    let after = subject.server.counters()?;
    let tens = effort.idle_seconds as f64 / 10.0;
    Ok(vec![("idle-wakes", f64::from(moments) / tens), ("idle-ticks", (after.ticks - before.ticks) as f64)])
}

/// Has the unchanged host read again (SIGHUP) some times; what is kept of it, and what is sent.
///
/// # Errors
/// When the server is gone.
pub fn rescans(subject: &mut Subject<'_>, effort: Effort) -> Result<Vec<Value>> {
    let rescan = |subject: &Subject<'_>| -> Result<()> {
        subject.server.hang_up()?;
        until_idle(subject.server)
    };
    let [first, then] = effort.rescans;
    for _ in 0..first {
        rescan(subject)?;
    }
    sleep(SETTLE);
    let (resident, seen) = (subject.server.resident()?, subject.client.lists_seen().0);
    for _ in 0..then {
        rescan(subject)?;
    }
    while subject.client.list_within(Duration::from_millis(20))? {}
    sleep(SETTLE);
    let kept = subject.server.resident()?.saturating_sub(resident);
    Ok(vec![("rescan-kept", kept as f64 / 1024.0), ("rescan-messages", (subject.client.lists_seen().0 - seen) as f64)])
}
