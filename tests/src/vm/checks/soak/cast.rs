//! The processes, and which files they have open: what the kernel should count.

use super::dice::Dice;
use crate::vm::actor::{self, Actor, Place};
use crate::vm::opener::CONTAINER;
use crate::vm::pci::Pci;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

const SOCKET: &str = "/run/soak.sock";
/// Processes that are told what to do, at most.
const MOST: usize = 6;
/// Devices that one process has open, at most.
const FILES: usize = 8;

/// A file of the kernel, by a number of its own, and the device that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    number: u64,
    device: usize,
}

/// What a process has open: the groups and devices, in the order in which they were opened.
#[derive(Clone, Debug, Default)]
struct Files {
    groups: Vec<File>,
    devices: Vec<File>,
}

struct Player {
    actor: Actor,
    files: Files,
}

/// What should be true of a device.
#[derive(Debug)]
pub struct Expected {
    /// How often it is open.
    pub count: u32,
    /// The processes that have it or its group open, sorted.
    pub pids: Vec<u32>,
}

/// All processes.
pub struct Cast {
    stage: [Pci; 3],
    players: Vec<Player>,
    /// Forked, and out of reach but for signals.
    children: Vec<(u32, Files)>,
    next: u64,
}

impl Cast {
    pub fn new(stage: [Pci; 3]) -> Self {
        Self { stage, players: Vec::new(), children: Vec::new(), next: 0 }
    }

    pub fn devices(&self) -> &[Pci] {
        &self.stage
    }

    /// A device that nobody has open, nor its group.
    pub fn idle_device(&self) -> Option<Pci> {
        let is_idle = |device: &&Pci| self.expected(device).pids.is_empty();
        self.stage.iter().find(is_idle).cloned()
    }

    pub fn expected(&self, device: &Pci) -> Expected {
        let index = self.stage.iter().position(|known| known == device);
        let is_of = |file: &&File| Some(file.device) == index;
        let (mut open, mut pids) = (BTreeSet::<File>::new(), BTreeSet::new());
        let players = self.players.iter().map(|player| (player.actor.pid(), &player.files));
        for (pid, files) in players.chain(self.children.iter().map(|(pid, files)| (*pid, files))) {
            open.extend(files.devices.iter().filter(is_of).copied());
            if files.devices.iter().chain(&files.groups).any(|file| is_of(&file)) {
                pids.insert(pid);
            }
        }
        Expected { count: u32::try_from(open.len()).unwrap_or(u32::MAX), pids: pids.into_iter().collect() }
    }

    /// Opens a device: once more in a process that has its group, or in a new process. Returns how many are open by that.
    pub fn open(&mut self, dice: &mut Dice) -> Result<u64> {
        let again = dice.below(2) == 0;
        if again && let Some(player) = pick(&mut self.players, dice) {
            let Some(group) = player.files.groups.last().copied() else { return Ok(0) };
            let Some(device) = self.stage.get(group.device).filter(|_| player.files.devices.len() < FILES) else {
                return Ok(0);
            };
            player.actor.tell(&format!("device {device}"))?;
            player.files.devices.push(File { number: self.next, device: group.device });
            self.next += 1;
            return Ok(1);
        }
        let Some(index) = dice.index(self.stage.len()).filter(|_| self.players.len() < MOST) else { return Ok(0) };
        let device = self.stage.get(index).context("no device")?;
        let mut actor = Actor::start(if dice.below(3) == 0 { Place::Apart } else { Place::Here })?;
        actor.tell(&format!("container {CONTAINER}"))?;
        let mut files = Files::default();
        // Another process may have the group: then this one has nothing open, and may be given something.
        let opened = actor.tell(&format!("group {}", device.node()?.display())).is_ok();
        if opened {
            actor.tell(&format!("device {device}"))?;
            files.groups.push(File { number: self.next, device: index });
            files.devices.push(File { number: self.next + 1, device: index });
            self.next += 2;
        }
        self.players.push(Player { actor, files });
        Ok(u64::from(opened))
    }

    /// Closes a device, or the group, of some process.
    pub fn close(&mut self, dice: &mut Dice) -> Result<()> {
        let Some(player) = pick(&mut self.players, dice) else { return Ok(()) };
        let (what, files) = match dice.below(4) {
            0 => ("group", &mut player.files.groups),
            _ => ("device", &mut player.files.devices),
        };
        if files.pop().is_some() {
            player.actor.close(&[what])?;
        }
        Ok(())
    }

    /// Has a process fork.
    pub fn fork(&mut self, dice: &mut Dice) -> Result<u64> {
        if self.children.len() >= MOST {
            return Ok(0);
        }
        let here = |player: &&mut Player| player.actor.is_here();
        let Some(player) = nth(self.players.iter_mut().filter(here), dice) else { return Ok(0) };
        let child = player.actor.tell("fork")?.context("a fork without a pid")?;
        self.children.push((child, player.files.clone()));
        Ok(1)
    }

    /// Has a process pass its last device to another one.
    pub fn pass(&mut self, dice: &mut Dice) -> Result<u64> {
        let (Some(from), Some(to)) = (dice.index(self.players.len()), dice.index(self.players.len())) else {
            return Ok(0);
        };
        let Ok([giver, taker]) = self.players.get_disjoint_mut([from, to]) else { return Ok(0) };
        let Some(file) = giver.files.devices.last().copied() else { return Ok(0) };
        if taker.files.devices.len() >= FILES {
            return Ok(0);
        }
        taker.actor.tell(&format!("listen {SOCKET}"))?;
        taker.actor.ask("take device")?;
        giver.actor.tell(&format!("give device {SOCKET}"))?;
        taker.actor.answer("take device")?;
        taker.files.devices.push(file);
        Ok(1)
    }

    /// Kills a process.
    pub fn kill(&mut self, dice: &mut Dice) -> Result<u64> {
        let count = self.players.len() + self.children.len();
        let Some(index) = dice.index(count) else { return Ok(0) };
        if index < self.players.len() {
            self.players.swap_remove(index).actor.kill()?;
        } else {
            let (child, _) = self.children.swap_remove(index - self.players.len());
            actor::kill(child)?;
        }
        Ok(1)
    }

    /// Has a process exchange a descriptor for its duplicate.
    pub fn duplicate(&mut self, dice: &mut Dice) -> Result<()> {
        let Some(player) = pick(&mut self.players, dice) else { return Ok(()) };
        if !player.files.devices.is_empty() {
            player.actor.tell("dup device")?;
        }
        Ok(())
    }

    /// Has a process end.
    pub fn leave(&mut self, dice: &mut Dice) {
        if let Some(index) = dice.index(self.players.len()) {
            drop(self.players.swap_remove(index));
        }
    }

    /// Has all end.
    pub fn dismiss(&mut self) {
        self.players.clear();
        for (child, _) in self.children.drain(..) {
            drop(actor::kill(child));
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.dismiss();
    }
}

fn pick<'a>(players: &'a mut [Player], dice: &mut Dice) -> Option<&'a mut Player> {
    nth(players.iter_mut(), dice)
}

fn nth<'a>(players: impl Iterator<Item = &'a mut Player>, dice: &mut Dice) -> Option<&'a mut Player> {
    let mut players: Vec<_> = players.collect();
    let index = dice.index(players.len())?;
    Some(players.swap_remove(index))
}
