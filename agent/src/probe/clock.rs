//! The kernel's boot clock and this process' own: a time namespace sets them apart.

use std::{fs, path::Path};

/// What this process' time namespace adds to the kernel's `CLOCK_BOOTTIME`, in nanoseconds
/// (`man 7 time_namespaces`, `/proc/<pid>/timens_offsets`). The probe's clock does not know namespaces.
pub(super) fn boot_shift_ns() -> i64 {
    fs::read_to_string(Path::new("/proc/self/timens_offsets")).ok().and_then(|text| shift(&text)).unwrap_or(0)
}

fn shift(offsets: &str) -> Option<i64> {
    let mut fields = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanoseconds: i64 = fields.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_is_that_of_the_boot_clock() {
        assert_eq!(shift("monotonic           0         0\nboottime         3600  5\n"), Some(3_600_000_000_005));
        assert_eq!(shift("monotonic           0         0\nboottime         -1  500000000\n"), Some(-500_000_000));
        assert_eq!(shift(""), None);
    }
}
