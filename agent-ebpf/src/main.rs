//! vfiod's kernel probe.
//!
//! ```text
//! opens     who opened a group or a device: seen when the call begins, told when it has succeeded
//! closes    who let go of the last reference: told when it begins and when it has ended
//! errors    PCI errors
//! removals  drivers that want their device back
//! modules   VFIO's modules come and go
//! files     an iterator: every open VFIO file of every task
//! lookup    run by the daemon: the count of one object, the devices of a group, the devices in sysfs
//! ```
//!
//! Nothing here runs unless VFIO is touched, but for errors, modules and what the daemon asks for. Offsets come from the
//! daemon ([`vfiod_abi::Config`]), because compiled Rust carries none that the loader could adapt to the kernel.

#![no_std]
#![no_main]

mod closes;
mod emit;
mod errors;
mod files;
mod identity;
mod lookup;
mod memory;
mod modules;
mod opens;
mod removals;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier accepts no program that could come here, so none does.
    loop {}
}

/// The kernel lets only programs with a licence like this read its memory
/// (kernel: `include/linux/license.h`, `license_is_gpl_compatible`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
