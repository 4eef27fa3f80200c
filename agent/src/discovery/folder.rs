//! Reading one folder of sysfs or devfs: small files, links and names, without allocating.

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat},
    io::{Errno, read, retry_on_intr},
    path::Arg,
};
use std::mem::MaybeUninit;

/// No attribute of sysfs is longer than a page (kernel: `fs/sysfs/file.c`, `sysfs_kf_seq_show`); what is beyond is not read.
const LONGEST: usize = 4096;

/// A buffer that is used again for every file and link.
pub(super) struct Scratch([u8; LONGEST]);

impl Scratch {
    pub(super) const fn new() -> Self {
        Self([0; LONGEST])
    }
}

/// An open folder. Names are looked up in it, so that all facts of one device come from one device,
/// even where another one takes its name meanwhile.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder by its path, following links.
    pub(super) fn open(path: impl Arg) -> Result<Self, Errno> {
        openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// Opens a folder inside this one, following links.
    pub(super) fn folder(&self, name: impl Arg) -> Result<Self, Errno> {
        openat(&self.0, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// The first 4096 bytes of a file.
    pub(super) fn text<'s>(&self, name: impl Arg, scratch: &'s mut Scratch) -> Result<&'s [u8], Errno> {
        // Without NONBLOCK, a FIFO in the place of a file would hold this thread for ever.
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let mut filled = 0;
        while let Some(rest) = scratch.0.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = retry_on_intr(|| read(&file, &mut *rest))?;
            filled += count;
            // sysfs gives a whole attribute at once, so the call that would return 0 is saved.
            if count < rest.len() {
                break;
            }
        }
        Ok(scratch.0.get(..filled).unwrap_or_default())
    }

    /// The last component of a link's target; `None` where there is no such link.
    pub(super) fn link<'s>(&self, name: impl Arg, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, Errno> {
        Ok(self.target(name, scratch)?.map(|target| last_component(target).1))
    }

    /// The target of a link as it is written; `None` where there is no such link.
    pub(super) fn target<'s>(&self, name: impl Arg, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, Errno> {
        match readlinkat_raw(&self.0, name, &mut scratch.0[..]) {
            Ok(length) => Ok(scratch.0.get(..length)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether there is an entry of this name, be it a link that leads nowhere.
    pub(super) fn has(&self, name: impl Arg) -> Result<bool, Errno> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Calls `each` with every name in a folder below this one (`.` for this one).
    pub(super) fn names(&self, name: impl Arg, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
        self.entries(name, |name, _| each(name))
    }

    /// Calls `each` with every name in a folder below this one, and the number of the entry itself, not of what a link leads to.
    pub(super) fn entries(&self, name: impl Arg, mut each: impl FnMut(&[u8], u64)) -> Result<(), Errno> {
        let folder = openat(&self.0, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        let mut entries = RawDir::new(folder, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                each(name, entry.ino());
            }
        }
        Ok(())
    }
}

/// Splits a path before its last component; trailing slashes do not count.
pub(super) fn last_component(mut path: &[u8]) -> (&[u8], &[u8]) {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn no_more_than_a_page_is_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("huge"), vec![b'x'; 1 << 20]).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.text("huge", &mut Scratch::new()).unwrap().len(), LONGEST);
    }

    #[test]
    fn a_fifo_does_not_hold_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("uevent"), Mode::RUSR).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.text("uevent", &mut Scratch::new()), Ok(&[][..]));
    }

    #[test]
    fn the_target_of_a_link_need_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("../../bus/pci/drivers/vfio-pci/", dir.path().join("driver")).unwrap();
        let (folder, mut scratch) = (Folder::open(dir.path()).unwrap(), Scratch::new());
        assert_eq!(folder.link("driver", &mut scratch), Ok(Some(&b"vfio-pci"[..])));
        assert_eq!(folder.link("physfn", &mut scratch), Ok(None));
    }
}
