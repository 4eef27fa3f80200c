//! Reading the kernel's memory. Every read may fail and none can do harm: the helpers catch faults.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str},
    macros::map,
    maps::Array,
};
use vfiod_abi::{ABSENT, Config};

#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// What the daemon has found out about this kernel.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The value `offset` bytes behind `base`.
#[inline(always)]
pub fn value<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// The pointer `offset` bytes behind `base`, unless it is null.
#[inline(always)]
pub fn pointer(base: u64, offset: u32) -> Option<u64> {
    value::<u64>(base, offset).filter(|pointer| *pointer != 0)
}

/// Copies the text at `from`, ended by a zero byte, as far as there is room.
#[inline(always)]
pub fn text<const N: usize>(from: u64, into: &mut [u8; N]) {
    // SAFETY: the destination is N bytes long, and the helper checks the source.
    unsafe { bpf_probe_read_kernel_str(into.as_mut_ptr().cast(), N as u32, from as *const _) };
}
