//! What is remembered of the host from one vfiod to the next, in the state folder.

use crate::{
    discovery::{HostRoot, Remembered},
    instance::Keeper,
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use tracing::debug;

/// The file in the state folder.
const NAME: &str = "facts";

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
        let read = fs::read(&self.path).ok();
        read.and_then(|bytes| Remembered::decode(&bytes, root)).unwrap_or_default()
    }

    /// Keeps what was found, if the file does not say so already and this vfiod keeps the state.
    pub(super) fn keep(&self, found: &Remembered, root: &HostRoot) {
        if !self.keeper.is_keeper() || found.is_empty() {
            return;
        }
        let Some(bytes) = found.encode(root) else { return };
        if fs::read(&self.path).is_ok_and(|known| known == bytes) {
            return;
        }
        if let Err(error) = self.write(&bytes) {
            let path = self.path.display();
            debug!("{path}: {error}; the next vfiod reads every device before its first list, as this one did");
        }
    }

    /// All of it or nothing: the next vfiod may be reading.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.persist(&self.path)?;
        Ok(())
    }
}
