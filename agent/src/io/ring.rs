//! What a process has submitted to its io_uring rings, read from outside.

use std::{fs, io, path::Path};

/// What `/proc/<pid>/fd/<n>` links to when it is a ring (kernel: `io_uring/io_uring.c`, `io_uring_get_file`).
const RING_LINK: &str = "anon_inode:[io_uring]";

/// How often an `fdinfo` without counters is read again: the kernel leaves them out while the ring is locked
/// (kernel: `io_uring/fdinfo.c`, `io_uring_show_fdinfo` only tries the lock).
const RETRIES: usize = 50;

/// The number of operations that process `pid` has submitted through io_uring, over all its rings; `None` when it has
/// no ring. Each ring counts in 32 bits and wraps.
///
/// # Errors
/// When `/proc/<pid>/fd` cannot be read: the process is gone or belongs to another user.
pub fn ring_submissions(pid: u32) -> io::Result<Option<u64>> {
    let process = Path::new("/proc").join(pid.to_string());
    let mut total = None;
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        // A descriptor may be closed between the listing and the look at it.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if target.as_os_str() != RING_LINK {
            continue;
        }
        let submitted = submitted(&process.join("fdinfo").join(entry.file_name()))?;
        total = Some(total.unwrap_or(0) + u64::from(submitted));
    }
    Ok(total)
}

fn submitted(fdinfo: &Path) -> io::Result<u32> {
    for _ in 0..RETRIES {
        let text = fs::read_to_string(fdinfo)?;
        if let Some(head) = counter(&text, "SqHead:") {
            return Ok(head);
        }
        std::thread::yield_now();
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} shows no ring counters", fdinfo.display())))
}

/// `SqHead` is what the kernel has taken from the submission queue, so it counts submissions, not intentions.
fn counter(fdinfo: &str, name: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counter_is_found_among_the_others() {
        let text = "pos:\t0\nflags:\t02000002\nSqMask:\t0x7\nSqHead:\t42\nSqTail:\t43\nCachedSqHead:\t42\n";
        assert_eq!(counter(text, "SqHead:"), Some(42));
        assert_eq!(counter("pos:\t0\n", "SqHead:"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(ring_submissions(u32::MAX).is_err());
    }
}
