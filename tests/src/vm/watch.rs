//! The kernel probe itself, without the daemon around it.

use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use vfiod::probe::{Census, CensusTaker, Event, EventKind, Object, Probe, ProbeOptions};

/// A probe that is listened to.
pub struct Watch {
    runtime: Runtime,
    probe: Probe,
    /// Takes a census.
    pub taker: CensusTaker,
    /// What it took to start.
    pub started_in: Duration,
    /// Every event so far.
    pub events: Vec<Event>,
    /// Whether the probe has said that a census is due.
    pub overrun: bool,
    /// How often it has said that modules came or went.
    pub modules_changed: u32,
}

/// For an event to come.
const SOON: Duration = Duration::from_secs(20);
/// Longer than between events that belong together. Nothing depends on it but what a check calls its own.
const QUIET: Duration = Duration::from_millis(300);

impl Watch {
    /// Starts it with a ring buffer of this size.
    pub fn start(ring_bytes: u32) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let begun = Instant::now();
        let options = ProbeOptions { ring_bytes, ..ProbeOptions::default() };
        let (probe, taker) = {
            let _inside = runtime.enter();
            Probe::start(&options)?
        };
        let started_in = begun.elapsed();
        Ok(Self { runtime, probe, taker, started_in, events: Vec::new(), overrun: false, modules_changed: 0 })
    }

    /// The probe.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Listens until `enough` holds of what has come.
    pub fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while !enough(self) {
            if !self.listen(deadline.saturating_duration_since(Instant::now()))? {
                bail!(
                    "{what} is not told within {SOON:?}; told is {:?}; losses {:?}",
                    self.lines(),
                    self.probe.losses()
                );
            }
        }
        Ok(())
    }

    /// Waits until there is an event of this kind and process about the object of this name, and returns it.
    pub fn event(&mut self, kind: EventKind, name: &str, pid: Option<u32>) -> Result<Event> {
        let wanted = |event: &&Event| {
            event.kind == kind && named(&event.object, name) && pid.is_none_or(|pid| event.process.pid == pid)
        };
        self.until(&format!("{kind:?} of {name}"), |watch| watch.events.iter().any(|event| wanted(&event)))?;
        self.events.iter().rev().find(wanted).cloned().context("the event is gone")
    }

    /// Takes what comes within a short while, if anything does.
    pub fn listen_a_while(&mut self) -> Result<()> {
        self.listen(QUIET).map(drop)
    }

    /// Takes what is there.
    pub fn settle(&mut self) -> Result<()> {
        while self.listen(QUIET)? {}
        Ok(())
    }

    /// Takes what is there and forgets all that was told.
    pub fn forget(&mut self) -> Result<()> {
        self.settle()?;
        self.events.clear();
        self.overrun = false;
        self.modules_changed = 0;
        Ok(())
    }

    /// Takes what is there, looks at all that was told, and forgets it.
    pub fn forget_after(&mut self, look: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        while self.listen(QUIET)? {}
        look(self)?;
        self.forget()
    }

    /// A census, in which every count that a descriptor shows is the kernel's.
    pub fn census(&self) -> Result<Census> {
        let census = self.taker.take()?;
        for opening in &census.openings {
            let count = self.probe.counts(&[opening.object])?;
            ensure!(
                count == [opening.open_count],
                "{}: the census says {:?}, a question {count:?}",
                opening.object,
                opening.open_count
            );
        }
        Ok(census)
    }

    fn listen(&mut self, at_most: Duration) -> Result<bool> {
        let probe = &mut self.probe;
        match self.runtime.block_on(async { timeout(at_most, probe.next()).await }) {
            Ok(batch) => {
                let batch = batch?;
                self.events.extend(batch.events);
                self.overrun |= batch.overrun;
                self.modules_changed += u32::from(batch.modules_changed);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |event: &Event| {
            format!(
                "{:?} {} {}({}) {:?}",
                event.kind, event.object, event.process.command, event.process.pid, event.open_count
            )
        };
        self.events.iter().map(line).collect()
    }
}

/// Whether the object is the device of this name, or the group of this number.
pub fn named(object: &Object, name: &str) -> bool {
    match object.device {
        Some(device) => device.to_string() == name,
        None => object.is_group() && object.group.is_some_and(|group| group.to_string() == name),
    }
}
