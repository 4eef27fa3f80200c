//! What was shown, in figures.

use crate::demo::{figures::count, page::Side, stage::Stage};
use anyhow::Result;
use std::fs;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("Measured in this run")?;
    if let Some(kilobytes) = peak_memory(stage.agent()?.pid()) {
        stage.note("memory of vfiod, at most", format!("{} MB", count(kilobytes / 1024)));
    }
    let rows = std::mem::take(&mut stage.summary);
    stage.page.table([Side::Left, Side::Left], ["", ""], &rows)?;
    stage.page.blank()?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    stage.page.shown(&format!(
        "Everything above came out as told. ({cpus} CPUs, Linux {}, {} PCI devices, {} mdevs.)",
        kernel.trim(),
        count(stage.options.pci as usize),
        count(stage.options.mdevs as usize)
    ))?;
    stage.end_agent().map(drop)
}

/// The largest resident set of a process in kB (`Documentation/filesystems/proc.rst`, `VmHWM`).
fn peak_memory(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}
