//! VFIO's modules come and go: the daemon attaches and detaches the other programs.

use crate::{
    emit::{emit, event},
    memory::{config, text},
};
use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use vfiod_abi::{ABSENT, Kind};

/// `module_load(struct module *)` (kernel: `include/trace/events/module.h`): the module's symbols and types are known,
/// its own code has not run yet.
#[raw_tracepoint]
pub fn module_load(ctx: RawTracePointContext) -> i32 {
    tell(Kind::ModuleLoaded, ctx.arg(0))
}

/// `module_free(struct module *)`: its symbols are gone.
#[raw_tracepoint]
pub fn module_free(ctx: RawTracePointContext) -> i32 {
    tell(Kind::ModuleFreed, ctx.arg(0))
}

#[inline(always)]
fn tell(kind: Kind, module: u64) -> i32 {
    let Some(config) = config() else { return 0 };
    if config.module_name == ABSENT {
        return 0;
    }
    let mut event = event(kind);
    text(module + u64::from(config.module_name), &mut event.name);
    // vfio, vfio_pci_core, vfio_pci, vfio_iommu_type1, vfio_mdev …; variant drivers carry no hook of ours.
    if event.name[..4] == *b"vfio" {
        emit(&event);
    }
    0
}
