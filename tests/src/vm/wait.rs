//! Waiting for what must become true, never longer than its deadline.

use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// How soon a condition is looked at again: at first, and at last.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Waits until `look` gives a value, and returns it. After `limit` the error is what `look` last
/// said was missing.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let (mut interval, longest) = INTERVAL;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() >= limit => return Err(anyhow!("after {limit:?} still: {error:#}")),
            Err(_) => std::thread::sleep(interval),
        }
        interval = (interval * 2).min(longest);
    }
}
