//! A data race on purpose: `cargo xtask test tsan` runs it, and fails where ThreadSanitizer does not report it.
//!
//! Whoever finds no race must be able to find one. Without ThreadSanitizer this program only ends.

use std::{
    cell::UnsafeCell,
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// A number that threads may write at once, which they must not.
struct Shared(UnsafeCell<u64>);

// SAFETY: there is none, and that is the purpose: what this claims is what ThreadSanitizer has to refute.
unsafe impl Sync for Shared {}

impl Shared {
    fn add(&self) {
        for _ in 0..1000 {
            // SAFETY: not given, see above. The number is alive and aligned; two threads write it at once.
            unsafe { *black_box(self.0.get()) += 1 };
        }
    }
}

fn main() {
    let shared = Shared(UnsafeCell::new(0));
    // ThreadSanitizer forgets what a thread has done that has ended: both begin when both are there. Relaxed, for anything more
    // would put one before the other.
    let there = AtomicUsize::new(0);
    let add = || {
        there.fetch_add(1, Ordering::Relaxed);
        while there.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        shared.add();
    };
    thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    println!("{} of 2000", shared.0.into_inner());
}
