//! Waiting for what must become true, never longer than its deadline.

use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `look` gives a value, and returns it with the time it took. After `limit` the error is what `look` last
/// said was missing.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok((value, begun.elapsed())),
            Err(error) if begun.elapsed() >= limit => return Err(anyhow!("after {limit:?} still: {error:#}")),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}
