//! More opens and closes than the probe can tell one by one: the counts are the kernel's all the same.

use crate::vm::Guest;
use crate::vm::storm::{Aftermath, Prize, Storm};
use crate::vm::watch::{Watch, named};
use anyhow::{Context, Result, ensure};
use std::time::Instant;
use vfiod::probe::EventKind;

/// How often a device is opened and closed.
const TIMES: u32 = 10_000;
/// The ring that vfiod uses.
const RING: u32 = 256 * 1024;
/// A page: thirty events.
const SMALL: u32 = 4096;

/// Leaves everything closed.
pub fn run(guest: &mut Guest) -> Result<()> {
    for (processes, ring, kind) in [(8, RING, "its ring"), (24, RING, "its ring"), (8, SMALL, "a ring of one page")] {
        let sentence = format!(
            "{TIMES} opens and closes of a device by {processes} processes end in the exact count, with {kind}"
        );
        guest.check(&sentence, |guest| storm(guest, Prize::Device, processes, ring))?;
    }
    for processes in [8, 24] {
        let sentence = format!(
            "{TIMES} opens and closes of a group that {processes} processes contend for end in the exact count"
        );
        guest.check(&sentence, |guest| storm(guest, Prize::Group, processes, RING))?;
    }
    Ok(())
}

fn storm(guest: &mut Guest, prize: Prize, processes: u32, ring: u32) -> Result<()> {
    let [device, _] = guest.bench.lone.clone();
    let mut watch = Watch::start(ring)?;
    let begun = Instant::now();
    let storm = Storm::raise(prize, &device, processes, TIMES)?;
    // With the small ring nobody listens, either: as much is lost as can be.
    let Aftermath { kept, refused } = match ring {
        SMALL => storm.wait()?,
        _ => loop {
            watch.listen_a_while()?;
            if let Some(aftermath) = storm.over()? {
                break aftermath;
            }
        },
    };
    let took = begun.elapsed();
    if ring == SMALL {
        watch.until("that events were lost", |watch| watch.overrun)?;
    }
    watch.settle()?;
    let told = |kind| watch.events.iter().filter(|event| event.kind == kind).count();
    let line = match prize {
        Prize::Device => (told(EventKind::DeviceOpened), told(EventKind::DeviceClosed)),
        Prize::Group => (told(EventKind::GroupOpened), told(EventKind::GroupClosed)),
    };
    let losses = watch.probe().losses();
    guest.port.say(&format!(
        "show storm: {TIMES} by {processes} in {took:.1?}, {refused} refused; told {} opens, {} closes; {losses:?}",
        line.0, line.1
    ))?;

    let name = match prize {
        Prize::Device => device.bdf().to_owned(),
        Prize::Group => device.group()?,
    };
    // Each count in it is the kernel's, which `census` has asked for again.
    let census = watch.census()?;
    let open = census.openings.iter().find(|opening| named(&opening.object, &name));
    let open = open.with_context(|| format!("{name} is open {kept} times and not in the census"))?;
    ensure!(open.open_count == Some(kept), "{name} is open {kept} times, and its count is {:?}", open.open_count);
    ensure!(census.hidden.is_empty(), "{:?} is hidden", census.hidden);
    drop(storm);
    let census = watch.census()?;
    ensure!(census.openings.is_empty() && census.hidden.is_empty(), "all is closed, and there is {census:?}");
    Ok(())
}
