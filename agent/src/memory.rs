//! The memory of the process: what a look at the whole host needed for a moment is given back.
//!
//! glibc keeps what was freed: per thread, and wherever something behind it is still in use. A scan of 16,384 devices
//! leaves several times behind what is kept of it (docs/PERFORMANCE.md has the figures).

/// Makes all threads share one heap, so that each uses what another one freed. Called once, before there are threads.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only sets a number, which is read when a thread first allocates; there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives free pages back to the kernel, also those between pages that are in use. Takes some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` touches only memory that is free, under the heap's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}
