//! Writing an initramfs: a cpio archive in the `newc` format (`Documentation/driver-api/early-userspace/buffer-format.rst`
//! of the kernel).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive being written. Folders above a file are made as files need them.
pub struct Initramfs<W> {
    out: W,
    folders: BTreeSet<String>,
    inode: u32,
}

impl<W: Write> Initramfs<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self { out, folders: BTreeSet::new(), inode: 0 }
    }

    /// Adds an empty folder.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.above(path)?;
        match self.folders.insert(path.to_owned()) {
            true => self.entry(path, FOLDER, &[]),
            false => Ok(()),
        }
    }

    /// Adds a file, executable as all files of a test guest may be. `path` is absolute in the guest.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.entry(path, PROGRAM, content)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn above(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) if !parent.is_empty() && parent != "/" => self.folder(parent),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let name = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{path} is over 4 GiB")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // magic, then: inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        fields.iter().for_each(|field| header.push_str(&format!("{field:08X}")));
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        // The name ends with a zero byte; name and content are each padded to four bytes.
        let padding = |length: usize| [0_u8; 3].get(..(4 - length % 4) % 4).unwrap_or_default().to_vec();
        self.out.write_all(&[0])?;
        self.out.write_all(&padding(header.len() + name.len() + 1))?;
        self.out.write_all(content)?;
        self.out.write_all(&padding(content.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_folders_come_before_their_files() {
        let mut archive = Initramfs::new(Vec::new());
        archive.file("/bin/a", b"hello").unwrap();
        archive.file("/bin/bc", b"x").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = |needle: &str| text.find(needle).unwrap();
        assert!(at("bin\0") < at("bin/a\0") && at("bin/a\0") < at("bin/bc\0") && at("bin/bc\0") < at("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 4, "the folder is written once");
        for (index, _) in text.match_indices("070701") {
            assert_eq!(index % 4, 0);
        }
    }
}
