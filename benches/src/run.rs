//! The run: fresh starts of all contestants, one after the other, round after round.

use crate::{
    awake::Awake,
    host::Host,
    kubelet::Kubelet,
    measure::{self, Effort, Subject},
    report::{Blocks, Report},
    server::Contestant,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// How much of the run is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All figures.
    All,
    /// Only starts, and the memory right after them.
    Starts,
    /// Only restarts of the kubelet of a host with many resources.
    Restarts,
    /// Only the churn, for so long.
    Churn(Duration),
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary of vfiod.
    pub vfiod: PathBuf,
    /// The binary of the floor.
    pub floor: PathBuf,
    /// Shell commands that start other plugins.
    pub compare: Vec<String>,
    /// Less of everything.
    pub quick: bool,
    /// How much of it.
    pub part: Part,
}

const FLOORS: [&str; 2] = ["floor", "floor beside it"];
/// How long after a start or after load memory is looked at: what either needed for a moment is given back by then.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long a thread of a pool waits for more work before it ends (tokio: 10 s), and a little more: its end is one wake-up,
/// and no periodic one. A quick run does not wait for that, and may count it.
const THREADS_END: Duration = Duration::from_secs(12);
/// The sizes of the nodes.
const SIZES: [usize; 2] = [4096, 16_384];
/// Resources of the restarts, and the devices of each.
const MANY: usize = 64;
const OF_EACH: usize = 16;

/// Runs everything.
///
/// # Errors
/// When a contestant does not do its work.
pub fn run(plan: &Plan) -> Result<Report> {
    let begun = Instant::now();
    let mut awake = Some(Awake::keep());
    let vfiod = Contestant::vfiod(plan.vfiod.clone())?;
    let [floor, twin] = FLOORS.map(|name| Contestant::floor(name, plan.floor.clone()));
    let others: Vec<Contestant> = plan.compare.iter().map(|command| Contestant::shell(command.clone())).collect();
    let names: Vec<String> = others.iter().map(|other| other.name.clone()).collect();
    let mut blocks = Blocks::default();
    if let Part::Churn(time) = plan.part {
        let host = Host::build(SIZES.into_iter().max().unwrap_or_default(), 1)?;
        churn(&vfiod, &host, time, &mut blocks)?;
        return Ok(Report::of(&blocks, &SIZES, FLOORS, &names));
    }
    if plan.part == Part::Restarts {
        restarts(&vfiod, plan.quick, &mut blocks)?;
        return Ok(Report::of(&blocks, &SIZES, FLOORS, &names));
    }
    for devices in SIZES {
        let host = Host::build(devices, 1)?;
        let effort = effort(plan.quick, devices);
        for round in 0..effort.rounds {
            eprintln!(
                "[{:>4} s] {devices} devices, round {} of {}",
                begun.elapsed().as_secs(),
                round + 1,
                effort.rounds
            );
            // Each goes first as often as the other.
            let mut order = vec![&floor, &vfiod, &twin];
            order.rotate_left(round % 3);
            for contestant in order.into_iter().chain(&others) {
                block(contestant, &host, effort, plan.part, &mut blocks)
                    .with_context(|| format!("{} on {devices} devices", contestant.name))?;
            }
        }
        if plan.part == Part::All && devices == SIZES.into_iter().max().unwrap_or_default() {
            eprintln!("[{:>4} s] {devices} devices, doing nothing and looking again", begun.elapsed().as_secs());
            drop(awake.take());
            alone(&vfiod, &host, effort, &mut blocks)?;
            awake = Some(Awake::keep());
        }
    }
    if plan.part == Part::Starts {
        derive(&mut blocks);
        return Ok(Report::of(&blocks, &SIZES, FLOORS, &names));
    }
    eprintln!("[{:>4} s] restarts of the kubelet, {MANY} resources", begun.elapsed().as_secs());
    let host = restarts(&vfiod, plan.quick, &mut blocks)?;
    for (key, value) in measure::storm(&vfiod, &host, effort(plan.quick, host.devices))? {
        blocks.add_alone("vfiod", key, value);
    }
    drop(awake);
    derive(&mut blocks);
    Ok(Report::of(&blocks, &SIZES, FLOORS, &names))
}

fn effort(quick: bool, devices: usize) -> Effort {
    let large = devices > 4096;
    let all = Effort {
        rounds: 10,
        calls: 5000,
        flips: 30,
        idle_seconds: 25,
        idle_after: THREADS_END,
        rescans: [3, 6],
        settle: SETTLE,
    };
    let few = Effort { idle_seconds: 10, idle_after: SETTLE, rescans: [1, 3], settle: Duration::ZERO, ..all };
    match (quick, large) {
        (true, false) => Effort { rounds: 2, calls: 1000, flips: 15, ..few },
        (true, true) => Effort { rounds: 1, calls: 800, flips: 10, ..few },
        (false, _) => all,
    }
}

/// One fresh start of one contestant: everything is measured on it.
fn block(contestant: &Contestant, host: &Host, effort: Effort, part: Part, blocks: &mut Blocks) -> Result<()> {
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let (server, plugin, ids, started) = measure::start(contestant, host, &mut kubelet, kubelet_dir.path())?;
    blocks.add(host.devices, &contestant.name, "start", started);
    if part == Part::Starts {
        sleep(SETTLE);
        blocks.add(host.devices, &contestant.name, "resident-unused", server.resident()? as f64 / 1024.0);
        server.stop()?;
        return again(contestant, host, &mut kubelet, kubelet_dir.path(), blocks);
    }
    let mut subject = Subject { server: &server, client: plugin.client, host, ids };
    let measured = measure::health(&mut subject, effort).and_then(|mut values| {
        measure::until_idle(&server)?;
        sleep(effort.settle); // what it has put off is done by then
        values.extend(measure::calls(&mut subject, effort)?);
        Ok(values)
    });
    for (key, value) in measured.with_context(|| format!("it said:\n{}", server.said()))? {
        blocks.add(host.devices, &contestant.name, key, value);
    }
    sleep(SETTLE);
    blocks.add(host.devices, &contestant.name, "resident", server.resident()? as f64 / 1024.0);
    drop(subject);
    server.stop()?;
    again(contestant, host, &mut kubelet, kubelet_dir.path(), blocks)
}

/// Starts a contestant once more: one that keeps something from one start to the next may use it now.
fn again(
    contestant: &Contestant,
    host: &Host,
    kubelet: &mut Kubelet,
    kubelet_dir: &Path,
    blocks: &mut Blocks,
) -> Result<()> {
    kubelet.restart()?;
    let (server, _, _, started) = measure::start(contestant, host, kubelet, kubelet_dir)?;
    blocks.add(host.devices, &contestant.name, "start-again", started);
    server.stop()
}

/// Long work of vfiod alone.
fn churn(vfiod: &Contestant, host: &Host, time: Duration, blocks: &mut Blocks) -> Result<()> {
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let (server, plugin, ids, _) = measure::start(vfiod, host, &mut kubelet, kubelet_dir.path())?;
    let mut subject = Subject { server: &server, client: plugin.client, host, ids };
    let measured = measure::churn(&mut subject, &mut kubelet, time);
    for (key, value) in measured.with_context(|| format!("it said:\n{}", server.said()))? {
        blocks.add_alone(&vfiod.name, key, value);
    }
    drop(subject);
    server.stop()
}

/// Restarts of the kubelet of a host with many resources, which is returned.
fn restarts(vfiod: &Contestant, quick: bool, blocks: &mut Blocks) -> Result<Host> {
    let host = Host::build(MANY * OF_EACH, MANY)?;
    for took in measure::restarts(vfiod, &host, if quick { 3 } else { 10 })? {
        blocks.add_alone(&vfiod.name, "restart-64", took);
    }
    Ok(host)
}

/// What only vfiod does.
fn alone(vfiod: &Contestant, host: &Host, effort: Effort, blocks: &mut Blocks) -> Result<()> {
    let kubelet_dir = host.kubelet_dir()?;
    let mut kubelet = Kubelet::start(kubelet_dir.path())?;
    let (server, plugin, ids, _) = measure::start(vfiod, host, &mut kubelet, kubelet_dir.path())?;
    let mut subject = Subject { server: &server, client: plugin.client, host, ids };
    let mut values = measure::idle(&subject, effort)?;
    values.extend(measure::rescans(&mut subject, effort)?);
    for (key, value) in values {
        blocks.add_alone(&vfiod.name, key, value);
    }
    drop(subject);
    server.stop()
}

/// Figures that follow from others.
fn derive(blocks: &mut Blocks) {
    let [small, large] = SIZES;
    let starts = [small, large].map(|size| blocks.median(size, "vfiod", "start"));
    if let [Some(of_small), Some(of_large)] = starts {
        blocks.add_alone("vfiod", "growth", (of_large / of_small) / (large as f64 / small as f64));
    }
    if let Some(resident) = blocks.median(large, "vfiod", "resident") {
        blocks.add_alone("vfiod", "resident-16k", resident);
    }
}
