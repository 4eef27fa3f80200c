//! What the probe needs to be allowed.

use super::{RING, open};
use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::watch::Watch;
use anyhow::{Context, Result, anyhow, bail, ensure};
use caps::{CapSet, Capability, CapsHashSet};
use std::fs;
use std::thread;
use vfiod::probe::{EventKind, Grant};

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

pub fn run(guest: &mut Guest) -> Result<()> {
    let before = fs::read_to_string(PARANOID).context("no perf events")?;
    guest.check("CAP_BPF and CAP_PERFMON suffice where perf_event_paranoid is 2", |guest| {
        fs::write(PARANOID, "2")?;
        let device = guest.bench.lone[0].clone();
        with(&[Capability::CAP_BPF, Capability::CAP_PERFMON], move || follow(&device, Grant::BpfAndPerfmon))
    })?;
    guest.check("CAP_SYS_ADMIN suffices alone, on Debian's perf_event_paranoid of 3", |guest| {
        fs::write(PARANOID, "3")?;
        let device = guest.bench.lone[0].clone();
        with(&[Capability::CAP_SYS_ADMIN], move || follow(&device, Grant::SysAdmin))
    })?;
    guest.check("with too little the probe names what is missing", |_| {
        fs::write(PARANOID, "3")?;
        let two = with(&[Capability::CAP_BPF, Capability::CAP_PERFMON], refusal)?;
        ensure!(two.contains("perf_event_paranoid is 3"), "it says: {two}");
        let none = with(&[], refusal)?;
        ensure!(none.contains("CAP_SYS_ADMIN"), "it says: {none}");
        Ok(())
    })?;
    Ok(fs::write(PARANOID, before)?)
}

fn follow(device: &Pci, grant: Grant) -> Result<()> {
    let mut watch = Watch::start(RING)?;
    ensure!(watch.probe().grant() == grant, "it took {}", watch.probe().grant());
    let share = open(device)?;
    watch.event(EventKind::DeviceOpened, device.bdf(), Some(share.pid()))?;
    ensure!(super::of(&watch.census()?, device.bdf()).len() == 1, "the census has not {device}");
    drop(share);
    watch.event(EventKind::GroupClosed, &device.group()?, None).map(drop)
}

fn refusal() -> Result<String> {
    match Watch::start(RING) {
        Ok(_) => bail!("it starts"),
        Err(error) => Ok(error.to_string()),
    }
}

/// Does it in a thread that has these capabilities and no others.
fn with<T: Send + 'static>(
    capabilities: &[Capability],
    what: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let keep: CapsHashSet = capabilities.iter().copied().collect();
    let done = thread::spawn(move || {
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &keep)?;
        }
        what()
    });
    done.join().map_err(|_| anyhow!("the thread ended badly"))?
}
