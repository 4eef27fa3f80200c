//! The checks that run inside the guest of `cargo xtask vm`, on a real kernel with real `vfio-pci` devices.
//!
//! Each file in `checks` is one scenario. It is given the [`Guest`] and makes a line for each thing it has seen:
//!
//! ```text
//! guest.check("an unbound device is Unhealthy within 2 s", |guest| …)
//!   └─ ok   an unbound device is Unhealthy within 2 s
//!      FAIL an unbound device is Unhealthy within 2 s: still Healthy after 2 s
//! ```

use anyhow::{Context, Result, anyhow};
use std::path::Path;

mod actor;
mod aer;
mod bench;
mod cgroup;
mod checks;
mod follow;
mod held;
mod mdev;
mod modules;
mod node;
mod opener;
mod pci;
mod pod;
mod port;
mod report;
mod share;
mod storm;
mod tour;
mod wait;
mod watch;

use bench::Bench;
use port::Port;
use report::Report;

/// What a scenario works with.
pub struct Guest {
    port: Port,
    report: Report,
    bench: Bench,
    minutes: u32,
}

/// What to do in the guest.
pub enum Task {
    /// Make the checks of the scenarios whose name contains `only`.
    Check {
        /// Empty for all.
        only: String,
        /// How long the scenario `soak` takes.
        minutes: u32,
    },
    /// Show the main job.
    Tour {
        /// For people at a terminal.
        colour: bool,
    },
}

/// Does the task and gives the verdict through the serial port `port`.
///
/// # Errors
///
/// Only where the port fails: whatever else goes wrong is a failed check.
pub fn run(port: &Path, task: &Task) -> Result<()> {
    let mut port = Port::open(port).with_context(|| format!("cannot open {}", port.display()))?;
    let mut report = Report::default();
    let prepared = modules::load().and_then(|()| Bench::find());
    let mut guest = match prepared {
        Ok(bench) => Guest { port, report, bench, minutes: 0 },
        Err(error) => {
            report.failed(&mut port, "the guest has VFIO and the machine's devices", &error)?;
            return report.verdict(&mut port);
        }
    };
    match task {
        Task::Check { only, minutes } => {
            guest.minutes = *minutes;
            guest.play(only)?;
        }
        Task::Tour { colour } => guest.check("the tour comes to its end", |guest| tour::take(guest, *colour))?,
    }
    guest.report.verdict(&mut guest.port)
}

impl Guest {
    fn play(&mut self, only: &str) -> Result<()> {
        let chosen = checks::chosen(only);
        if chosen.len() < 2 {
            let names: Vec<&str> = checks::names().collect();
            let error = anyhow!("there are {}", names.join(", "));
            self.report.failed(&mut self.port, &format!("a scenario is called `{only}`"), &error)?;
        }
        for (name, scenario) in chosen {
            if let Err(error) = scenario(self) {
                self.report.failed(&mut self.port, name, &error)?;
            }
        }
        Ok(())
    }

    /// Makes one check and reports it under `sentence`, which says what holds when it passes.
    ///
    /// # Errors
    ///
    /// Only where the report cannot be written.
    pub fn check(&mut self, sentence: &str, check: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.port.say(&format!("now  {sentence}"))?;
        let outcome = check(self);
        self.report.add(&mut self.port, sentence, outcome)
    }
}
