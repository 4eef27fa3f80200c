//! How soon an open is known, and a release: with the probe, with inotify in its place, and by inotify alone. The figures
//! are printed and decide nothing.

use crate::vm::Guest;
use crate::vm::actor::{Actor, Place};
use crate::vm::follow::{self, Follow};
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use crate::vm::opener::CONTAINER;
use crate::vm::pci::Pci;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};
use vfiod_simulator::kubelet::Health;

/// Few enough that no device changes so often within 10 s that vfiod lets it settle.
const ROUNDS: usize = 4;

/// Times since the order to open or to close, of the process that does it.
#[derive(Default)]
struct Times {
    /// Until inotify told of the open.
    inotify: Vec<Duration>,
    /// Until the daemon's own stream of holders told of it.
    opened: Vec<Duration>,
    /// Until the kubelet knew that the device is unhealthy.
    unhealthy: Vec<Duration>,
    /// From the order to close until the kubelet knew that the device is healthy.
    healthy: Vec<Duration>,
    /// What the probe's programs took of the processor in the kernel, for all of them.
    spent: Spent,
}

/// Has the kernel measure eBPF programs (`Documentation/admin-guide/sysctl/kernel.rst`).
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// `BPF_PROG_TYPE_KPROBE` (kernel: `include/uapi/linux/bpf.h`).
const KPROBE: u64 = 2;

/// What programs have taken.
#[derive(Clone, Copy, Default)]
struct Spent {
    runs: u64,
    ns: u64,
}

impl Spent {
    /// All kprobes and kretprobes of this process, as the kernel tells with its descriptors
    /// (kernel: `kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`).
    fn of(pid: u32) -> Result<Self> {
        let mut spent = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // A descriptor may have been closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            if number("prog_type:") == Some(KPROBE) {
                spent.runs += number("run_cnt:").unwrap_or(0);
                spent.ns += number("run_time_ns:").unwrap_or(0);
            }
        }
        Ok(spent)
    }
}

/// Leaves everything closed.
pub fn run(guest: &mut Guest) -> Result<()> {
    let probe = Setup { name: "latency-probe", flags: &[("--probe", "require")], ..Setup::DEFAULT };
    let without = Setup { name: "latency-inotify", flags: &[("--probe", "off")], ..Setup::DEFAULT };
    guest.check("every open and release reaches the daemon and the kubelet, with the probe and with inotify", |guest| {
        for (how, setup) in [("probe", probe), ("inotify", without)] {
            let times = measure(guest, setup, how == "probe")?;
            if how == "probe" {
                let Spent { runs, ns } = times.spent;
                ensure!(runs > 0, "the kernel has measured no run of the probe's programs");
                let rounds = times.opened.len() as u64;
                let line = format!(
                    "show cost of the probe in the kernel: {} runs of its programs for an open and release of a group, {} ns together",
                    runs / rounds,
                    ns / rounds
                );
                guest.port.say(&line)?;
            }
            for (what, mut samples) in [
                ("open to inotify alone", times.inotify),
                ("open to vfiod's holders", times.opened),
                ("open to ListAndWatch", times.unhealthy),
                ("release to ListAndWatch", times.healthy),
            ] {
                samples.sort_unstable();
                let at = |index: usize| samples.get(index).copied().unwrap_or_default();
                let (count, half, most) = (samples.len(), at(samples.len() / 2), at(samples.len().saturating_sub(1)));
                let line =
                    format!("show latency with {how:<8} {what:<24} median {half:>9.1?} of {count}, most {most:.1?}");
                guest.port.say(&line)?;
            }
        }
        Ok(())
    })
}

fn measure(guest: &Guest, setup: Setup, by_probe: bool) -> Result<Times> {
    let mut node = Node::start(setup)?;
    node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
    if by_probe {
        node.wait_for_probe()?;
    }
    let bench = &guest.bench;
    // One of each group.
    let devices: [&Pci; 5] = [&bench.lone[0], &bench.lone[1], &bench.pair[0], &bench.bridged[0], &bench.in_port];
    let (raw, stream) = (follow::inotify("/dev/vfio")?, follow::holders(&node.agent.status_socket())?);
    let mut actor = Actor::start(Place::Here)?;
    let mut times = Times::default();
    fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
    let before = Spent::of(node.agent.pid())?;
    for device in devices.iter().cycle().take(ROUNDS * devices.len()) {
        let (group, node_path) = (device.group()?, device.node()?);
        actor.tell(&format!("container {CONTAINER}"))?;
        let begun = Instant::now();
        actor.tell(&format!("group {}", node_path.display()))?;
        let since = |follow: &Follow| follow.wait_for(&group, EVENTUALLY).map(|at| at.saturating_duration_since(begun));
        times.inotify.push(since(&raw)?);
        times.opened.push(since(&stream)?);
        node.wait_for_health(EDU, device.bdf(), Some(Health::Unhealthy), EVENTUALLY)?;
        times.unhealthy.push(last_listing(&node)?.saturating_duration_since(begun));
        let begun = Instant::now();
        actor.close(&["group"])?;
        node.wait_for_health(EDU, device.bdf(), Some(Health::Healthy), EVENTUALLY)?;
        times.healthy.push(last_listing(&node)?.saturating_duration_since(begun));
        actor.close(&["container"])?;
    }
    let after = Spent::of(node.agent.pid())?;
    times.spent = Spent { runs: after.runs - before.runs, ns: after.ns - before.ns };
    fs::write(STATS, "0").with_context(|| format!("cannot write {STATS}"))?;
    Ok(times)
}

fn last_listing(node: &Node) -> Result<Instant> {
    node.kubelet.watch(EDU).last().map(|listing| listing.received).context("the kubelet has no list")
}
