//! Files, folders and links below the node's root, with the kernel's form of relative links.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use super::{
    NodeError,
    batch::{Batch, Entry, write_new},
};

/// A folder that stands for the root of a host. Paths are relative to it and have no leading slash.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// One inode for each text that many files share; new files are hard links to it.
    shared: HashMap<(u32, String), PathBuf>,
    /// What a fault hides, and where it is meanwhile. Changes go there, and show when the fault is mended.
    hidden: BTreeMap<String, PathBuf>,
    /// What is collected while the node comes up.
    batch: Option<Batch>,
    /// Names given in the staging folder so far.
    staged: usize,
}

/// Below the root, beside `sys` and `dev`: where files are written before they are renamed into place.
const STAGING: &str = ".staging";

impl Tree {
    pub(super) fn new(root: PathBuf) -> Result<Self, NodeError> {
        let tree =
            Self { root, shared: HashMap::new(), hidden: BTreeMap::new(), batch: Some(Batch::default()), staged: 0 };
        tree.folder(STAGING)?;
        Ok(tree)
    }

    /// Where something is that may be hidden by a fault.
    pub(super) fn place(&self, at: &str) -> PathBuf {
        let mut parts = Some(at).filter(|_| !self.hidden.is_empty());
        while let Some(part) = parts {
            if let Some(hidden) = self.hidden.get(part) {
                let below = at.get(part.len()..).unwrap_or_default();
                return if below.is_empty() { hidden.clone() } else { hidden.join(below.trim_start_matches('/')) };
            }
            parts = part.rsplit_once('/').map(|(above, _)| above);
        }
        self.root.join(at)
    }

    /// A name in the staging folder that nothing else has.
    fn staging(&mut self) -> PathBuf {
        self.staged += 1;
        self.root.join(STAGING).join(self.staged.to_string())
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&self, at: &str) -> Result<(), NodeError> {
        let path = self.place(at);
        fs::create_dir_all(&path).map_err(NodeError::io("make folder", path))
    }

    /// Makes a file of its own, with the mode that sysfs gives it.
    pub(super) fn file(&mut self, at: &str, mode: u32, text: impl Into<Vec<u8>>) -> Result<(), NodeError> {
        let path = self.place(at);
        self.make(Entry::File { path, mode, text: text.into() })
    }

    /// Makes a file whose text many devices share. It is a hard link, which costs a third of a file's time and none of
    /// its memory: replace it, never write into it.
    pub(super) fn shared_file(&mut self, at: &str, mode: u32, text: &str) -> Result<(), NodeError> {
        let path = self.place(at);
        let key = (mode, text.to_owned());
        let of = match self.shared.get(&key) {
            Some(first) => first.clone(),
            None => {
                let first = self.staging();
                write_new(&first, mode, text.as_bytes()).map_err(NodeError::io("write", &first))?;
                self.shared.insert(key, first.clone());
                first
            }
        };
        self.make(Entry::Name { path, of })
    }

    /// Makes a link as sysfs does: relative, and up no further than needed
    /// (kernel: `fs/kernfs/symlink.c`, `kernfs_get_target_path`).
    pub(super) fn link(&mut self, at: &str, target: &str) -> Result<(), NodeError> {
        let path = self.place(at);
        self.make(Entry::Link { path, text: relative(at, target) })
    }

    fn make(&mut self, entry: Entry) -> Result<(), NodeError> {
        match &mut self.batch {
            Some(batch) => batch.add(entry),
            None => entry.make(),
        }
    }

    /// Makes what was only collected, from now on at once.
    pub(super) fn settle(&mut self) -> Result<(), NodeError> {
        self.batch.take().map_or(Ok(()), |mut batch| batch.make())
    }

    /// Makes what was collected so far, before something that has to find it.
    fn catch_up(&mut self) -> Result<(), NodeError> {
        self.batch.as_mut().map_or(Ok(()), Batch::make)
    }

    /// Changes the text of a file, so that a reader sees either the old text or the new one.
    pub(super) fn replace(&mut self, at: &str, mode: u32, text: impl AsRef<[u8]>) -> Result<(), NodeError> {
        self.catch_up()?;
        let (path, next) = (self.place(at), self.staging());
        write_new(&next, mode, text.as_ref())
            .and_then(|()| fs::rename(&next, &path))
            .map_err(NodeError::io("replace", path))
    }

    /// Removes a file, a link or a folder with what is in it, and any fault there. What is gone already, by a test's own
    /// hand, is no error.
    pub(super) fn remove(&mut self, at: &str) -> Result<(), NodeError> {
        self.catch_up()?;
        if !self.hidden.is_empty() {
            let inside = format!("{at}/");
            let below: Vec<String> =
                self.hidden.keys().filter(|path| *path == at || path.starts_with(&inside)).cloned().collect();
            for hidden in below.iter().filter_map(|path| self.hidden.remove(path)) {
                remove_all(&hidden)?;
            }
        }
        remove_all(&self.place(at))
    }

    pub(super) fn is_hidden(&self, at: &str) -> bool {
        self.hidden.contains_key(at)
    }

    /// Moves what is at a path out of sight, if anything is there; mending brings it back.
    pub(super) fn hide(&mut self, at: &str) -> Result<(), NodeError> {
        self.mend(at)?;
        let (path, hidden) = (self.place(at), self.staging());
        match fs::rename(&path, &hidden) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NodeError::io("hide", path)(error)),
            _ => {
                self.hidden.insert(at.to_owned(), hidden);
                Ok(())
            }
        }
    }

    /// Puts something in the place of what is hidden.
    pub(super) fn put(&self, at: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), NodeError> {
        let path = self.root.join(at);
        make(&path).map_err(NodeError::io("break", path))
    }

    /// Brings back what is hidden, as it is by now.
    pub(super) fn mend(&mut self, at: &str) -> Result<(), NodeError> {
        let Some(hidden) = self.hidden.remove(at) else { return Ok(()) };
        let path = self.place(at);
        let _readers = last_writer(&path);
        // A file takes the place of the fault at once: nobody finds neither of them.
        if !(is_file(&hidden) && fs::symlink_metadata(&path).is_ok_and(|fault| !fault.is_dir())) {
            remove_all(&path)?;
        }
        match fs::rename(&hidden, &path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NodeError::io("mend", path)(error)),
            _ => Ok(()),
        }
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// The last writer of a pipe, if one is at the path: whoever waits to read it goes on, and reads nothing, when this is
/// dropped, which is to be after the pipe's name went.
fn last_writer(path: &Path) -> Option<fs::File> {
    let is_pipe = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    if is_pipe { fs::File::options().read(true).write(true).open(path).ok() } else { None }
}

fn remove_all(path: &Path) -> Result<(), NodeError> {
    let _readers = last_writer(path);
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
        result => result,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(NodeError::io("remove", path)),
    }
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
