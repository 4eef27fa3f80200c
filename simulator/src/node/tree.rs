//! Files, folders and links below the node's root, with the kernel's form of relative links.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use super::NodeError;

/// A folder that stands for the root of a host. Paths are relative to it and have no leading slash.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// One inode for each text that many read-only files share; new files are hard links to it.
    shared: HashMap<String, PathBuf>,
}

/// Below the root, beside `sys` and `dev`: where files are written before they are renamed into place.
const STAGING: &str = ".staging";

impl Tree {
    pub(super) fn new(root: PathBuf) -> Result<Self, NodeError> {
        let tree = Self { root, shared: HashMap::new() };
        tree.folder(STAGING)?;
        Ok(tree)
    }

    pub(super) fn path(&self, at: &str) -> PathBuf {
        self.root.join(at)
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&self, at: &str) -> Result<(), NodeError> {
        let path = self.path(at);
        fs::create_dir_all(&path).map_err(NodeError::io("make folder", path))
    }

    /// Makes a file of its own, with the mode that sysfs gives it.
    pub(super) fn file(&self, at: &str, mode: u32, text: impl AsRef<[u8]>) -> Result<(), NodeError> {
        let path = self.path(at);
        write_new(&path, mode, text.as_ref()).map_err(NodeError::io("write", path))
    }

    /// Makes a read-only file whose text many devices share. It is a hard link: replace it, never write into it.
    pub(super) fn shared_file(&mut self, at: &str, text: &str) -> Result<(), NodeError> {
        let path = self.path(at);
        if let Some(first) = self.shared.get(text) {
            match fs::hard_link(first, &path) {
                Ok(()) => return Ok(()),
                // The inode has all the links that its file system allows, or a test removed it: begin another one.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(NodeError::io("write", path)(error)),
            }
        }
        let first = self.path(STAGING).join(self.shared.len().to_string());
        let made = fs::remove_file(&first)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .and_then(|()| write_new(&first, 0o444, text.as_bytes()))
            .and_then(|()| fs::hard_link(&first, &path));
        self.shared.insert(text.to_owned(), first);
        made.map_err(NodeError::io("write", path))
    }

    /// Changes the text of a file, so that a reader sees either the old text or the new one.
    pub(super) fn replace(&self, at: &str, mode: u32, text: impl AsRef<[u8]>) -> Result<(), NodeError> {
        let (path, next) = (self.path(at), self.path(STAGING).join("next"));
        write_new(&next, mode, text.as_ref())
            .and_then(|()| fs::rename(&next, &path))
            .map_err(NodeError::io("replace", path))
    }

    /// Makes a link as sysfs does: relative, and up no further than needed
    /// (kernel: `fs/kernfs/symlink.c`, `kernfs_get_target_path`).
    pub(super) fn link(&self, at: &str, target: &str) -> Result<(), NodeError> {
        let path = self.path(at);
        symlink(relative(at, target), &path).map_err(NodeError::io("link", path))
    }

    /// Removes a file or link. One that is gone already, through a fault or by a test's own hand, is no error.
    pub(super) fn remove(&self, at: &str) -> Result<(), NodeError> {
        let path = self.path(at);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => self.remove_folder(at),
            result => result.map_err(NodeError::io("remove", path)),
        }
    }

    /// Removes a folder and what is in it.
    pub(super) fn remove_folder(&self, at: &str) -> Result<(), NodeError> {
        let path = self.path(at);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(NodeError::io("remove folder", path)),
        }
    }
}

fn write_new(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text)
}

/// The text of a link at `at` that leads to `target`, both relative to the root.
///
/// The kernel compares the folder of the link with the *folder* of the target, so a link to a folder above it
/// climbs out of that folder and names it again.
fn relative(at: &str, target: &str) -> String {
    let mut from: Vec<&str> = at.split('/').collect();
    from.pop();
    let to: Vec<&str> = target.split('/').collect();
    let common = from.iter().zip(to.iter().take(to.len() - 1)).take_while(|(a, b)| a == b).count();
    let mut text = "../".repeat(from.len() - common);
    text.push_str(&to.into_iter().skip(common).collect::<Vec<_>>().join("/"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_climb_as_far_as_the_kernel_lets_them() {
        for (at, target, text) in [
            (
                "sys/bus/pci/devices/0000:00:01.0",
                "sys/devices/pci0000:00/0000:00:01.0",
                "../../../devices/pci0000:00/0000:00:01.0",
            ),
            (
                "sys/devices/pci0000:00/0000:00:01.0/driver",
                "sys/bus/pci/drivers/pcieport",
                "../../../bus/pci/drivers/pcieport",
            ),
            ("sys/devices/pci0000:00/0000:00:01.0/physfn", "sys/devices/pci0000:00/0000:00:00.0", "../0000:00:00.0"),
            ("sys/d/X/vfio-dev/vfio0/device", "sys/d/X", "../../../X"),
            ("sys/d/X/mdev_type", "sys/d/X/mdev_supported_types/a-1", "mdev_supported_types/a-1"),
        ] {
            assert_eq!(relative(at, target), text);
        }
    }
}
