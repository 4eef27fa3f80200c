//! The kernel counts from boot, people from 1970.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day of a moment that is counted from boot (`CLOCK_BOOTTIME`).
#[must_use]
pub fn at_boot(since_boot: Duration) -> SystemTime {
    let uptime = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(uptime.tv_sec).unwrap_or_default();
    let uptime = Duration::new(secs, u32::try_from(uptime.tv_nsec).unwrap_or_default());
    let booted = SystemTime::now().checked_sub(uptime).unwrap_or(UNIX_EPOCH);
    booted + since_boot
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
