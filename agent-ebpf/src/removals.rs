//! Drivers that want their device back. On 6.1 this is the only sign of it before the holder closes.

use crate::{
    emit::{emit, event_of},
    identity::Object,
    memory::config,
};
use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use vfiod_abi::Kind;

/// `void vfio_unregister_group_dev(struct vfio_device *)`, and
/// `void vfio_pci_core_request(struct vfio_device *, unsigned int)`, which it calls every ten seconds until the holder
/// has closed the device.
#[kprobe]
pub fn removing(ctx: ProbeContext) -> u32 {
    if let Some(device) = ctx.arg(0)
        && let Some(config) = config()
    {
        emit(&event_of(Kind::Removing, &Object::device(config, device)));
    }
    0
}
