//! Random opens, closes, forks, passed descriptors, kills and restarts of vfiod, for as long as is asked for; at every quiet point
//! what vfiod says is what the kernel counts and what the processes know that they have open.
//!
//! It runs only where it is named: `cargo xtask vm --only soak --minutes 60`.

use crate::vm::Guest;
use crate::vm::node::{EDU, EVENTUALLY, Node, Setup};
use crate::vm::pci::Pci;
use crate::vm::storm::{Prize, Storm};
use crate::vm::wait;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fmt;
use std::time::{Duration, Instant};
use vfiod::probe::{CensusTaker, Object};

mod cast;
mod dice;

use cast::Cast;
use dice::Dice;

const PLAIN: Setup = Setup { name: "soak", flags: &[("--probe", "require")], ..Setup::DEFAULT };
const PINNED: Setup = Setup { flags: &[("--probe", "require"), ("--pin", "/sys/fs/bpf/vfiod")], ..PLAIN };
/// How many random deeds there are between two quiet points, at most.
const DEEDS: u64 = 40;

/// Leaves everything closed.
pub fn run(guest: &mut Guest) -> Result<()> {
    super::pins::mount("bpf", "/sys/fs/bpf")?;
    let devices = [&guest.bench.lone[0], &guest.bench.lone[1], &guest.bench.in_port].map(Pci::clone);
    let mut node = Node::start(PLAIN)?;
    node.wait_for_healthy(EDU, guest.bench.all().count(), EVENTUALLY)?;
    node.wait_for_probe()?;
    let taker = CensusTaker::from_kernel().context("the kernel cannot be asked")?;
    let mut soak = Soak { taker, cast: Cast::new(devices), dice: Dice::random(), node, done: Deeds::default() };
    let minutes = guest.minutes;
    for minute in 1..=minutes {
        let sentence = format!("[soak] minute {minute} of {minutes}: whatever happens, the counts are the kernel's");
        guest.check(&sentence, |guest| {
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                for _ in 0..soak.dice.up_to(DEEDS) {
                    soak.deed()?;
                }
                soak.compare()?;
            }
            guest.port.say(&format!("show soak: after {minute} minutes: {}", soak.done))
        })?;
    }
    guest.check("[soak] when all have ended nothing is open", |_| {
        soak.cast.dismiss();
        soak.compare()
    })
}

/// What was done so far.
#[derive(Default)]
struct Deeds {
    opens: u64,
    storms: u64,
    forks: u64,
    passed: u64,
    kills: u64,
    restarts: u64,
    compared: u64,
}

impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opens, storms, forks, passed, kills, restarts, compared } = self;
        write!(
            f,
            "{opens} opens, {forks} forks, {passed} passed descriptors, {kills} killed holders, {storms} storms of 200 opens, \
             {restarts} restarts of vfiod; compared {compared} times"
        )
    }
}

struct Soak {
    cast: Cast,
    dice: Dice,
    node: Node,
    /// Asks the kernel without vfiod.
    taker: CensusTaker,
    done: Deeds,
}

impl Soak {
    /// Does something at random.
    fn deed(&mut self) -> Result<()> {
        let (cast, dice, done) = (&mut self.cast, &mut self.dice, &mut self.done);
        match dice.below(100) {
            0..30 => done.opens += cast.open(dice)?,
            30..52 => cast.close(dice)?,
            52..62 => done.forks += cast.fork(dice)?,
            62..72 => done.passed += cast.pass(dice)?,
            72..84 => done.kills += cast.kill(dice)?,
            84..90 => cast.duplicate(dice)?,
            90..97 => cast.leave(dice),
            97..99 => self.restart()?,
            _ => self.storm()?,
        }
        Ok(())
    }

    /// Ends vfiod, well or badly, and starts it, with pins or without; it is not waited for.
    fn restart(&mut self) -> Result<()> {
        if self.dice.below(2) == 0 {
            self.node.agent.signal(Signal::KILL)?;
            self.node.agent.wait()?;
        } else {
            self.node.agent.terminate()?;
        }
        // What happens now nobody sees, unless the probe is pinned.
        for _ in 0..self.dice.below(6) {
            let dice = &mut self.dice;
            match dice.below(3) {
                0 => self.done.opens += self.cast.open(dice)?,
                1 => self.cast.close(dice)?,
                _ => self.done.kills += self.cast.kill(dice)?,
            }
        }
        let setup = if self.dice.below(2) == 0 { PLAIN } else { PINNED };
        self.node.start_agent_as(setup)?;
        self.done.restarts += 1;
        Ok(())
    }

    /// Has many processes open and close a device that nobody has open.
    fn storm(&mut self) -> Result<()> {
        let Some(device) = self.cast.idle_device() else { return Ok(()) };
        let storm = Storm::raise(Prize::Device, &device, 4, 200)?;
        storm.wait()?;
        drop(storm);
        self.done.storms += 1;
        Ok(())
    }

    /// Compares what the processes know, what the kernel counts and what vfiod says.
    fn compare(&mut self) -> Result<()> {
        for device in self.cast.devices() {
            let expected = self.cast.expected(device);
            let census = self.taker.take()?;
            let is_this = |object: &Object| object.device.is_some_and(|id| id.to_string() == device.bdf());
            let shown = census.openings.iter().find(|opening| is_this(&opening.object)).and_then(|one| one.open_count);
            let hidden = census.hidden.iter().find(|hidden| is_this(&hidden.object)).map(|hidden| hidden.open_count);
            let counted = shown.or(hidden).unwrap_or(0);
            ensure!(counted == expected.count, "{device}: the kernel counts {counted}, expected is {expected:?}");
            wait::until(EVENTUALLY, || {
                let holders = self.node.holders()?;
                ensure!(holders.by == "probe", "vfiod asks {}", holders.by);
                let mut pids: Vec<u32> = holders.of(device.bdf())?.iter().map(|holder| holder.pid).collect();
                pids.dedup();
                let count = holders.open_count(device.bdf()).unwrap_or(0);
                ensure!(
                    pids == expected.pids && count == expected.count,
                    "{device}: expected is {expected:?}, and vfiod says {count} by {pids:?}"
                );
                Ok(())
            })
            .with_context(|| format!("after {}", self.done))?;
        }
        self.done.compared += 1;
        Ok(())
    }
}
