//! What is remembered of the host from one vfiod to the next, in the state folder.

use crate::{
    discovery::{HostRoot, Remembered},
    instance::Keeper,
    io::{read_now, replace},
};
use std::path::{Path, PathBuf};
use tracing::debug;

/// The file in the state folder.
const NAME: &str = "facts";
/// More than any host has devices for.
const LONGEST: usize = 16 * 1024 * 1024;

/// Reads and writes the file. Without one everything is read from the host: nothing is lost but milliseconds.
#[derive(Debug, Clone)]
pub(super) struct FactsFile {
    path: PathBuf,
    keeper: Keeper,
}

impl FactsFile {
    pub(super) fn new(folder: &Path, keeper: Keeper) -> Self {
        Self { path: folder.join(NAME), keeper }
    }

    /// What holds on this host.
    pub(super) fn read(&self, root: &HostRoot) -> Remembered {
        let read = read_now(&self.path, LONGEST).ok();
        read.and_then(|bytes| Remembered::decode(&bytes, root)).unwrap_or_default()
    }

    /// Keeps what was found, if the file does not say so already and this vfiod keeps the state.
    pub(super) fn keep(&self, found: &Remembered, root: &HostRoot) {
        if !self.keeper.is_keeper() || found.is_empty() {
            return;
        }
        let Some(bytes) = found.encode(root) else { return };
        if read_now(&self.path, LONGEST).is_ok_and(|known| known == bytes) {
            return;
        }
        if let Err(error) = replace(&self.path, &bytes) {
            let path = self.path.display();
            debug!("{path}: {error}; the next vfiod reads every device before its first list, as this one did");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::look_again;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::fs;
    use vfiod_simulator::node::{Node, PciSpec};

    #[test]
    fn what_is_no_file_of_facts_is_not_believed_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let facts = FactsFile::new(folder.path(), Keeper::onlooker());
        let root = HostRoot::default();
        assert!(facts.read(&root).is_empty(), "there is none");
        mkfifoat(CWD, &facts.path, Mode::RUSR).unwrap();
        assert!(facts.read(&root).is_empty(), "a pipe that nobody writes");
        fs::remove_file(&facts.path).unwrap();
        fs::write(&facts.path, b"\x0a\xff\xff\xff\xff\x0f").unwrap();
        assert!(facts.read(&root).is_empty(), "nonsense");
    }

    #[test]
    fn only_who_keeps_the_state_writes_and_the_next_one_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::builder().pci(PciSpec::new("0000:3b:00.0", "10DE:20B0").driver("vfio-pci")).build().unwrap();
        let root = HostRoot::new(node.root());
        let found = look_again(&root, Remembered::default).found;
        assert!(!found.is_empty());
        let beside = FactsFile::new(folder.path(), Keeper::onlooker());
        beside.keep(&found, &root);
        assert!(!beside.path.exists());
        FactsFile::new(folder.path(), Keeper::stand(folder.path())).keep(&found, &root);
        assert_eq!(beside.read(&root), found);
    }
}
