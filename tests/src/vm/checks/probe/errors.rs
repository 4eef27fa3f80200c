//! PCI errors, injected into the port of a device by the kernel's `aer_inject`
//! (`Documentation/PCI/pcieaer-howto.rst`; `drivers/pci/pcie/aer_inject.c`, `struct aer_error_inj`).

use crate::vm::Guest;
use crate::vm::pci::Pci;
use crate::vm::report::Skip;
use crate::vm::watch::Watch;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use vfiod::probe::{EventKind, Severity};

const INJECT: &str = "/dev/aer_inject";
/// `PCI_ERR_COR_BAD_TLP`
const BAD_TLP: u32 = 0x40;
/// `PCI_ERR_UNC_COMP_TIME`, which is not fatal unless somebody says so.
const COMPLETION_TIMEOUT: u32 = 0x4000;

pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    guest.check("a corrected PCI error is told with the function that reported it", |guest| {
        let port = port(&guest.bench.in_port)?;
        watch.forget()?;
        inject(&port, 0, BAD_TLP)?;
        watch.event(EventKind::Aer(Severity::Correctable), &port, None).map(drop)
    })?;
    guest.check("an error of a port is told, and its recovery for the VFIO device below", |guest| {
        let device = guest.bench.in_port.clone();
        let port = port(&device)?;
        watch.forget()?;
        inject(&port, COMPLETION_TIMEOUT, 0)?;
        watch.event(EventKind::Aer(Severity::NonFatal), &port, None)?;
        watch.event(EventKind::Recovery(Severity::NonFatal), device.bdf(), None).map(drop)
    })
}

/// The port that the device is in.
fn port(device: &Pci) -> Result<String> {
    let link = fs::canonicalize(format!("/sys/bus/pci/devices/{device}"))?;
    let port = link.parent().and_then(Path::file_name).context("a device without a port")?;
    Ok(port.to_string_lossy().into_owned())
}

fn inject(function: &str, uncorrectable: u32, correctable: u32) -> Result<()> {
    if !Path::new(INJECT).exists() {
        return Err(Skip("this kernel has no aer_inject".into()).into());
    }
    let number = |text: &str| u8::from_str_radix(text, 16).with_context(|| format!("{function} is no address"));
    let at = |from: usize, to: usize| function.get(from..to).unwrap_or_default();
    let mut error = vec![number(at(5, 7))?, number(at(8, 10))?, number(at(11, 12))?, 0];
    for word in [uncorrectable, correctable, 0, 0, 0, 0, 0] {
        error.extend(word.to_ne_bytes());
    }
    fs::write(INJECT, error).with_context(|| format!("no error can be injected into {function}"))
}
