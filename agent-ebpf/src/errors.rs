//! PCI errors.

use crate::{
    emit::{emit, event},
    memory::{config, pointer, text},
};
use aya_ebpf::{
    macros::{kprobe, raw_tracepoint},
    programs::{ProbeContext, RawTracePointContext},
};
use vfiod_abi::{ABSENT, Kind, severity};

/// `pci_channel_io_normal` (kernel: `include/linux/pci.h`, `enum pci_channel_state`).
const STILL_WORKING: u32 = 1;

/// `aer_event(const char *dev_name, const u32 status, const u8 severity, …)` (kernel: `include/ras/ras_event.h`), for
/// any PCI device.
#[raw_tracepoint]
pub fn aer_event(ctx: RawTracePointContext) -> i32 {
    let mut event = event(Kind::Aer);
    event.detail = u32::from(ctx.arg::<u8>(2));
    text(ctx.arg(0), &mut event.name);
    emit(&event);
    0
}

/// `pci_ers_result_t vfio_pci_core_aer_err_detected(struct pci_dev *, pci_channel_state_t)`: errors of this device, or of
/// one above it, are being recovered.
#[kprobe]
pub fn aer_recovery(ctx: ProbeContext) -> u32 {
    let (Some(device), Some(state), Some(config)) = (ctx.arg::<u64>(0), ctx.arg::<u32>(1), config()) else { return 0 };
    if config.pci_device == ABSENT {
        return 0;
    }
    let mut event = event(Kind::Recovery);
    event.detail = if state == STILL_WORKING { severity::NONFATAL } else { severity::FATAL };
    if let Some(name) = pointer(device + u64::from(config.pci_device), config.device_name) {
        text(name, &mut event.name);
    }
    emit(&event);
    0
}
