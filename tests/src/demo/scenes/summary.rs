//! What was shown, in figures.

use crate::demo::{figures::count, page::Side, stage::Stage};
use anyhow::Result;
use std::fs;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("Measured in this run")?;
    let rows = std::mem::take(&mut stage.summary);
    stage.page.table([Side::Left, Side::Right, Side::Right], ["", "time", "worst"], &rows)?;
    stage.page.blank()?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = match peak_memory(stage.agent_pid()?) {
        Some(kilobytes) => format!(" vfiod needed {} MB of memory.", count(kilobytes.div_ceil(1024))),
        None => String::new(),
    };
    stage.page.say(&format!(
        "With {} PCI devices and {} mdevs, on {cpus} CPUs, Linux {}. Where there are two figures, the first is the median.\
         {memory}",
        count(stage.options.pci as usize),
        count(stage.options.mdevs as usize),
        kernel.trim(),
    ))?;
    stage.end_agent()?;
    stage.page.blank()?;
    stage.page.shown("Everything came out as told.")
}

/// The largest resident set of a process in kB (`Documentation/filesystems/proc.rst`, `VmHWM`).
fn peak_memory(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}
