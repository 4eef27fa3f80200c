//! Faults: what a reader of a real `/sys` may meet, made to order.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Node, NodeError, canonical};

/// A way in which a file, link or folder can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is gone (ENOENT).
    Gone,
    /// It is a link that leads nowhere: reading it works, following it does not.
    Dangling,
    /// It is a link to itself (ELOOP).
    Loop,
    /// It is a folder: opening works, reading fails (EISDIR), for root, too.
    Folder,
    /// Nobody may open it (mode 000, EACCES). Root opens it all the same and finds it empty.
    Forbidden,
    /// It is empty.
    Empty,
    /// It holds bytes that are no UTF-8, with a zero among them.
    Garbage,
    /// It is a pipe that nobody writes: whoever opens it to read waits, until it is mended. So do files of a real `/sys`
    /// whose lock somebody holds; there not even SIGKILL ends the wait.
    Hanging,
    /// It is this many bytes long, all zero; they take no room.
    Huge(u64),
}

impl Node {
    /// Breaks something in a device's folder, such as `driver`, `iommu_group`, `uevent` or `numa_node`.
    ///
    /// Later operations do not repair it: they change what is hidden, and [`mend`](Self::mend) shows it as it is by then.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Io`].
    pub fn break_file(&self, device: &str, file: &str, fault: Fault) -> Result<(), NodeError> {
        self.break_path(&self.below(device, file)?, fault)
    }

    /// Makes a link in a device's folder, such as `driver`, lead nowhere.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Io`].
    pub fn break_link(&self, device: &str, link: &str) -> Result<(), NodeError> {
        self.break_file(device, link, Fault::Dangling)
    }

    /// Takes a device's folder away and leaves every link to it: what a reader sees that comes a moment too late.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Io`].
    pub fn vanish(&self, device: &str) -> Result<(), NodeError> {
        self.break_file(device, "", Fault::Gone)
    }

    /// Breaks anything, by its path from the node's root: `sys/kernel/iommu_groups/12/devices`.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub fn break_path(&self, at: &str, fault: Fault) -> Result<(), NodeError> {
        let at = at.trim_matches('/');
        self.operate(|world| {
            world.tree.hide(at)?;
            world.tree.put(at, |path| fault.lay(path))
        })
        .map(drop)
    }

    /// Undoes what [`break_file`](Self::break_file), [`break_link`](Self::break_link) or [`vanish`](Self::vanish) (with
    /// an empty `file`) did.
    ///
    /// # Errors
    /// [`NodeError::NoDevice`], [`NodeError::Io`].
    pub fn mend(&self, device: &str, file: &str) -> Result<(), NodeError> {
        self.mend_path(&self.below(device, file)?)
    }

    /// Undoes what [`break_path`](Self::break_path) did.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub fn mend_path(&self, at: &str) -> Result<(), NodeError> {
        self.operate(|world| world.tree.mend(at.trim_matches('/'))).map(drop)
    }

    /// Gives a file another text, at once as the kernel does. Files may share an inode, so this is the way to change one.
    ///
    /// # Errors
    /// [`NodeError::Io`].
    pub fn write_path(&self, at: &str, text: impl AsRef<[u8]>) -> Result<(), NodeError> {
        self.operate(|world| world.tree.replace(at.trim_matches('/'), 0o644, text)).map(drop)
    }

    fn below(&self, device: &str, file: &str) -> Result<String, NodeError> {
        let folder = self.look(|world| world.device(&canonical(device)).map(|device| device.folder.clone()))?;
        Ok(if file.is_empty() { folder } else { format!("{folder}/{file}") })
    }
}

impl Fault {
    pub(super) fn lay(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Gone => Ok(()),
            Self::Dangling => symlink("../gone", path),
            Self::Loop => symlink(path, path),
            Self::Folder => fs::create_dir(path),
            Self::Empty => fs::File::create_new(path).map(drop),
            Self::Forbidden => fs::File::create_new(path)?.set_permissions(fs::Permissions::from_mode(0o000)),
            Self::Garbage => fs::File::create_new(path)?.write_all(b"PCI_ID=\xff\xfe\0\x80\nDRIVER\n=\n\n"),
            Self::Hanging => Ok(mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?),
            Self::Huge(length) => fs::File::create_new(path)?.set_len(length),
        }
    }
}
