//! The files of the image, as a tar whose bytes depend on names and contents alone.

use anyhow::Result;
use std::collections::BTreeMap;
use tar::{Builder, EntryType, Header};

/// Files and folders by path, sorted: a folder comes before what is in it.
#[derive(Debug, Default)]
pub(super) struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    File { bytes: Vec<u8>, mode: u32 },
}

impl Layer {
    /// Adds a folder, and those above it. A path begins without a slash.
    pub(super) fn folder(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for part in ends.filter_map(|end| path.get(..end)) {
            self.entries.entry(part.to_owned()).or_insert(Entry::Folder);
        }
    }

    /// Adds a program, and the folders above it.
    pub(super) fn program(&mut self, path: &str, bytes: Vec<u8>) {
        self.file(path, Entry::File { bytes, mode: 0o755 });
    }

    /// Adds a file to read, and the folders above it.
    pub(super) fn text(&mut self, path: &str, text: String) {
        self.file(path, Entry::File { bytes: text.into_bytes(), mode: 0o644 });
    }

    fn file(&mut self, path: &str, file: Entry) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries.insert(path.to_owned(), file);
    }

    /// The tar: everything belongs to root and is as old as the epoch.
    ///
    /// # Errors
    /// When a path is too long for a tar.
    pub(super) fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder => append(&mut tar, &format!("{path}/"), EntryType::Directory, 0o755, &[])?,
                Entry::File { bytes, mode } => append(&mut tar, path, EntryType::Regular, *mode, bytes)?,
            }
        }
        Ok(tar.into_inner()?)
    }
}

/// Appends one entry, with nothing in its header that could differ from one machine to another.
pub(super) fn append(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn everything_is_roots_and_as_old_as_the_epoch_and_folders_come_first() {
        let mut layer = Layer::default();
        layer.text("usr/share/doc/LICENSE", "terms".to_owned());
        layer.program("usr/bin/vfiod", vec![1, 2, 3]);
        layer.folder("run/vfiod");
        let tar = layer.tar().unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), bytes.len()));
        }
        let expected = [
            ("run/", 0o755, 0),
            ("run/vfiod/", 0o755, 0),
            ("usr/", 0o755, 0),
            ("usr/bin/", 0o755, 0),
            ("usr/bin/vfiod", 0o755, 3),
            ("usr/share/", 0o755, 0),
            ("usr/share/doc/", 0o755, 0),
            ("usr/share/doc/LICENSE", 0o644, 5),
        ];
        assert_eq!(seen, expected.map(|(path, mode, size)| (path.to_owned(), mode, size)));
    }
}
