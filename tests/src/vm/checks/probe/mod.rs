//! The kernel probe: its events, its counts and its census against programs that hold devices in every way.

use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::share::Share;
use crate::vm::watch::{Watch, named};
use anyhow::{Result, ensure};
use vfiod::probe::{Attachment, Census, Opening};

mod errors;
mod losses;
mod modules;
mod opens;
mod privileges;
mod shares;

/// The ring buffer as the daemon has it.
const RING: u32 = 256 * 1024;

/// Leaves every device bound and closed.
pub fn run(guest: &mut Guest) -> Result<()> {
    let mut watch = None;
    guest.check("the kernel probe loads and follows opens and releases", |guest| {
        let started = Watch::start(RING)?;
        for hook in started.probe().hooks() {
            ensure!(!matches!(hook.attachment, Attachment::Failed(_)), "{}: {}", hook.function, hook.attachment);
        }
        ensure!(started.probe().is_following(), "it follows nothing: {:?}", started.probe().hooks());
        let line = format!("show probe: started in {:?} with {}", started.started_in, started.probe().grant());
        guest.port.say(&line)?;
        watch = Some(started);
        Ok(())
    })?;
    let Some(mut watch) = watch else { return Ok(()) };
    opens::run(guest, &mut watch)?;
    shares::run(guest, &mut watch)?;
    losses::run(guest, &mut watch)?;
    errors::run(guest, &mut watch)?;
    privileges::run(guest)?;
    modules::run(guest, &mut watch)
}

fn open(device: &Pci) -> Result<Share> {
    Share::open(&device.node()?, device.bdf())
}

fn of(census: &Census, name: &str) -> Vec<Opening> {
    census.openings.iter().filter(|opening| named(&opening.object, name)).cloned().collect()
}
