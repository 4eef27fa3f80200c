//! Reading many small files through io_uring: the measured alternative to discovery's own reads.
//!
//! Each file is a chain of open, read and close on a direct descriptor, which never becomes a file descriptor of the
//! process. Chains are submitted together, as many as the ring has room for.

use anyhow::{Context, Result};
use io_uring::{IoUring, opcode, squeue::Flags, types};
use std::ffi::CString;

/// A ring for reading files.
pub struct RingReader {
    ring: IoUring,
    depth: usize,
    buffers: Vec<Vec<u8>>,
}

/// Entries of one chain.
const CHAIN: usize = 3;
/// The most that is read of a file: a page, as sysfs gives at most.
const PAGE: usize = 4096;
/// Which entry of a chain a completion belongs to, in the lowest bits.
const READ: u64 = 1;

impl RingReader {
    /// A ring for `depth` files at a time.
    ///
    /// # Errors
    /// When the host refuses io_uring.
    pub fn new(depth: usize) -> Result<Self> {
        let entries = u32::try_from(depth * CHAIN)?.next_power_of_two();
        let ring = IoUring::new(entries).context("io_uring is refused")?;
        ring.submitter().register_files_sparse(u32::try_from(depth)?)?;
        Ok(Self { ring, depth, buffers: vec![vec![0; PAGE]; depth] })
    }

    /// Reads all files; `each` gets the place of a file among them, and what it holds.
    ///
    /// # Errors
    /// When the ring fails. A file that cannot be read is left out.
    pub fn read(&mut self, paths: &[CString], mut each: impl FnMut(usize, &[u8])) -> Result<()> {
        for (batch, paths) in paths.chunks(self.depth).enumerate() {
            for (slot, (path, buffer)) in paths.iter().zip(&mut self.buffers).enumerate() {
                let slot = u32::try_from(slot)?;
                let target = types::DestinationSlot::try_from_slot_target(slot).ok().context("no such slot")?;
                let tag = u64::from(slot) << 2;
                let open = opcode::OpenAt::new(types::Fd(rustix::fs::CWD.as_raw()), path.as_ptr())
                    .file_index(Some(target))
                    .flags(0)
                    .build()
                    .flags(Flags::IO_LINK)
                    .user_data(tag);
                // A short read breaks a soft link, and every attribute is shorter than a page.
                let read = opcode::Read::new(types::Fixed(slot), buffer.as_mut_ptr(), PAGE as u32)
                    .build()
                    .flags(Flags::IO_HARDLINK)
                    .user_data(tag | READ);
                let close = opcode::Close::new(types::Fixed(slot)).build().user_data(tag | 2);
                for entry in [open, read, close] {
                    // SAFETY: the path and the buffer live in `paths` and in `self`, neither of which moves or goes
                    // before the completion of this batch has been taken below.
                    unsafe { self.ring.submission().push(&entry) }.ok().context("the ring is full")?;
                }
            }
            self.ring.submit_and_wait(paths.len() * CHAIN)?;
            let completions: Vec<(u64, i32)> =
                self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
            for (tag, result) in completions {
                let slot = usize::try_from(tag >> 2)?;
                if tag & 3 == READ
                    && let Ok(length) = usize::try_from(result)
                    && let Some(text) = self.buffers.get(slot).and_then(|buffer| buffer.get(..length))
                {
                    each(batch * self.depth + slot, text);
                }
            }
        }
        Ok(())
    }
}

/// The descriptor that stands for the working directory.
trait Raw {
    fn as_raw(&self) -> i32;
}

impl Raw for rustix::fd::BorrowedFd<'_> {
    fn as_raw(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, os::unix::ffi::OsStrExt};

    #[test]
    fn every_file_is_read_and_a_missing_one_is_left_out() {
        let Ok(mut reader) = RingReader::new(4) else {
            assert!(std::env::var_os("VFIOD_NO_SKIP").is_none(), "this host refuses io_uring");
            println!("skipped: this host refuses io_uring");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: String| CString::new(folder.path().join(name).as_os_str().as_bytes()).unwrap();
        for number in 0..11 {
            std::fs::write(folder.path().join(number.to_string()), format!("text {number}")).unwrap();
        }
        let mut paths: Vec<CString> = (0..11).map(|number| path(number.to_string())).collect();
        paths.insert(5, path("missing".to_owned()));
        let mut read = BTreeMap::new();
        reader.read(&paths, |place, text| drop(read.insert(place, String::from_utf8(text.to_vec()).unwrap()))).unwrap();
        assert_eq!(read.len(), 11);
        assert_eq!((read.get(&5), read[&6].as_str(), read[&11].as_str()), (None, "text 5", "text 10"));
    }
}
