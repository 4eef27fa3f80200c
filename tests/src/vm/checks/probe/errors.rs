//! PCI errors, injected into a device and into the port of another one.

use crate::vm::Guest;
use crate::vm::aer::{Error, inject};
use crate::vm::watch::Watch;
use anyhow::Result;
use vfiod::probe::{EventKind, Severity};

/// Leaves the device that reports errors unbound.
pub fn run(guest: &mut Guest, watch: &mut Watch) -> Result<()> {
    for (error, severity, what) in [
        (Error::Corrected, Severity::Correctable, "a corrected PCI error"),
        (Error::NonFatal, Severity::NonFatal, "a PCI error that is not fatal"),
        (Error::Fatal, Severity::Fatal, "a fatal PCI error"),
    ] {
        guest.check(&format!("{what} is told with the function that reported it"), |guest| {
            let device = guest.bench.express.clone();
            device.bind("vfio-pci")?;
            watch.forget()?;
            inject(device.bdf(), error)?;
            watch.event(EventKind::Aer(severity), device.bdf(), None)?;
            if error != Error::Corrected {
                watch.event(EventKind::Recovery(severity), device.bdf(), None)?;
            }
            device.unbind()
        })?;
    }
    for (error, severity, what) in
        [(Error::NonFatal, Severity::NonFatal, "an error"), (Error::Fatal, Severity::Fatal, "a fatal error")]
    {
        guest.check(&format!("{what} of a port is told, and its recovery for the VFIO device below"), |guest| {
            let device = guest.bench.in_port.clone();
            let port = device.parent()?;
            watch.forget()?;
            inject(&port, error)?;
            watch.event(EventKind::Aer(severity), &port, None)?;
            watch.event(EventKind::Recovery(severity), device.bdf(), None).map(drop)
        })?;
    }
    Ok(())
}
