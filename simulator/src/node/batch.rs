//! Making many files at once.
//!
//! While a node comes up nobody watches, so the order of its files does not matter: they are collected and made on all
//! processors. Folders are not: what goes into them needs them.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    thread,
};

use super::NodeError;

/// A file or link to be made.
#[derive(Debug)]
pub(super) enum Entry {
    File {
        path: PathBuf,
        mode: u32,
        text: Vec<u8>,
    },
    /// Another name of a file that exists.
    Name {
        path: PathBuf,
        of: PathBuf,
    },
    Link {
        path: PathBuf,
        text: String,
    },
}

impl Entry {
    pub(super) fn make(&self) -> Result<(), NodeError> {
        match self {
            Self::File { path, mode, text } => write_new(path, *mode, text).map_err(NodeError::io("write", path)),
            Self::Name { path, of } => match fs::hard_link(of, path) {
                // The file has all the names that its file system allows.
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => fs::copy(of, path).map(drop),
                result => result,
            }
            .map_err(NodeError::io("write", path)),
            Self::Link { path, text } => symlink(text, path).map_err(NodeError::io("link", path)),
        }
    }
}

/// Entries that wait to be made.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<Entry>);

/// So many that a thread has something to do, and so few that they take little memory.
const FULL: usize = 1 << 16;
const WORTH_A_THREAD: usize = 1 << 12;

impl Batch {
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), NodeError> {
        self.0.push(entry);
        if self.0.len() >= FULL { self.make() } else { Ok(()) }
    }

    /// Makes all of them; the first error is returned when the others are done.
    pub(super) fn make(&mut self) -> Result<(), NodeError> {
        let entries = std::mem::take(&mut self.0);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(entries.len() / WORTH_A_THREAD).max(1);
        let share = entries.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = entries
                .chunks(share)
                .skip(1)
                .map(|share| scope.spawn(|| share.iter().try_for_each(Entry::make)))
                .collect();
            let own = entries.iter().take(share).try_for_each(Entry::make);
            workers.into_iter().fold(own, |result, worker| match worker.join() {
                Ok(other) => result.and(other),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

pub(super) fn write_new(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text)
}
