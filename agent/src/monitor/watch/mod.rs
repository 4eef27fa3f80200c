//! Watches of folders and files that may not exist yet, may go, and may come back as something else.
//!
//! inotify watches inodes; this watches *paths*. Every folder on the way to a target is watched for the next name on
//! that way, symlinks included, so whatever replaces a part of the path is noticed and the watch moves along.

mod inotify;
mod route;
#[cfg(test)]
mod tests;

use inotify::{Event, Inotify};
use route::{End, Route};
use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

/// What happened to a target, or to a name inside a target folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A name appeared in the folder: created or renamed into it (possibly over an older one).
    Created,
    /// A name left the folder: deleted or renamed away.
    Removed,
    /// A file was written: in a folder, closed after writing; for a target file, any write or a replacement.
    Written,
    /// A file of the folder was opened; only [`Watcher::watch_uses`] tells.
    Opened,
    /// A file of the folder that could not be written was closed; only [`Watcher::watch_uses`] tells. One that could be
    /// is [`ChangeKind::Written`].
    Closed,
    /// Permissions, owner or times changed; without a name, of the target itself.
    Attrib,
    /// The target exists now. What is inside it has not been reported: look.
    Appeared,
    /// The target is gone.
    Vanished,
}

impl ChangeKind {
    /// Whether a file was opened or closed.
    #[must_use]
    pub const fn is_use(self) -> bool {
        matches!(self, Self::Opened | Self::Closed | Self::Written)
    }
}

/// One change of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K> {
    /// The target's key.
    pub key: K,
    /// The name inside the target folder; absent where the target itself is meant.
    pub name: Option<OsString>,
    /// What happened.
    pub kind: ChangeKind,
}

/// Everything that happened since the last batch, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<K> {
    /// The changes.
    pub changes: Vec<Change<K>>,
    /// The kernel dropped events: anything may have happened, so look at all targets.
    pub overflow: bool,
}

/// How well a target is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It exists and is watched.
    Present,
    /// It does not exist; its appearance will be noticed.
    Absent,
    /// It cannot be watched, for this reason: only a rescan will notice changes.
    Blind(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Folder,
    Uses,
    File,
}

struct Watched<K> {
    key: K,
    path: PathBuf,
    target: Target,
    route: Route,
}

/// Watches any number of paths through one inotify descriptor. Needs a tokio runtime with I/O, of either mode.
pub struct Watcher<K> {
    inotify: Inotify,
    watched: Vec<Watched<K>>,
    pending: Batch<K>,
}

impl<K> Default for Batch<K> {
    fn default() -> Self {
        Self { changes: Vec::new(), overflow: false }
    }
}

impl<K: Copy + PartialEq> Watcher<K> {
    /// A watcher without targets.
    ///
    /// # Errors
    /// When the kernel gives no inotify descriptor (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::new()?, watched: Vec::new(), pending: Batch::default() })
    }

    /// Watches the names in a folder. What is there already is not reported: add the watch, then look.
    pub fn watch_folder(&mut self, key: K, path: &Path) -> State {
        self.add(key, path, Target::Folder)
    }

    /// Watches the names in a folder, and who opens and closes the files there.
    pub fn watch_uses(&mut self, key: K, path: &Path) -> State {
        self.add(key, path, Target::Uses)
    }

    /// Watches one file, through all symlinks that lead to it.
    pub fn watch_file(&mut self, key: K, path: &Path) -> State {
        self.add(key, path, Target::File)
    }

    /// Stops watching; what has not been taken yet is forgotten.
    pub fn forget(&mut self, key: K) {
        self.watched.retain(|watched| watched.key != key);
        self.pending.changes.retain(|change| change.key != key);
        self.drop_unused();
    }

    /// How well a target is watched; `None` when there is no such target.
    pub fn state(&self, key: K) -> Option<State> {
        self.watched.iter().find(|watched| watched.key == key).map(Watched::state)
    }

    /// Walks every path again. For the periodic rescan: a mount over a folder gives no event, and a target that could
    /// not be watched may be watchable now. Differences come with the next batch.
    pub fn recheck(&mut self) {
        self.rearm(|_| true);
    }

    /// Waits for changes. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the inotify descriptor cannot be read.
    pub async fn next(&mut self) -> io::Result<Batch<K>> {
        loop {
            if self.pending.overflow || !self.pending.changes.is_empty() {
                return Ok(std::mem::take(&mut self.pending));
            }
            let events = self.inotify.events().await?;
            self.digest(&events);
        }
    }

    fn add(&mut self, key: K, path: &Path, target: Target) -> State {
        // A path that cannot be made absolute is empty; it stays absent.
        let path = std::path::absolute(path).unwrap_or_default();
        let route = Route::walk(&self.inotify, &path, target);
        let watched = Watched { key, path, target, route };
        let state = watched.state();
        self.watched.push(watched);
        state
    }

    fn digest(&mut self, events: &[Event]) {
        let mut moved = HashSet::new();
        for event in events {
            if event.is_overflow() {
                self.pending.overflow = true;
                moved.extend(0..self.watched.len());
            }
            for (index, watched) in self.watched.iter().enumerate() {
                if watched.route.is_changed_by(event) {
                    moved.insert(index);
                }
                if let Some((name, kind)) = watched.seen_in(event) {
                    let change = Change { key: watched.key, name: name.map(OsStr::to_owned), kind };
                    if self.pending.changes.last() != Some(&change) {
                        self.pending.changes.push(change);
                    }
                }
            }
        }
        if !moved.is_empty() {
            self.rearm(|index| moved.contains(&index));
        }
    }

    /// Walks the chosen paths again and reports what became of their targets.
    fn rearm(&mut self, chosen: impl Fn(usize) -> bool) {
        for (index, watched) in self.watched.iter_mut().enumerate() {
            if !chosen(index) {
                continue;
            }
            let before =
                std::mem::replace(&mut watched.route, Route::walk(&self.inotify, &watched.path, watched.target));
            let kinds: &[ChangeKind] = match (before.target(), watched.route.target(), watched.target) {
                (None, Some(_), _) => &[ChangeKind::Appeared],
                (Some(_), None, _) => &[ChangeKind::Vanished],
                (Some(old), Some(new), Target::Folder | Target::Uses) if old != new => {
                    &[ChangeKind::Vanished, ChangeKind::Appeared]
                }
                (Some(old), Some(new), Target::File) if old != new => &[ChangeKind::Written],
                _ => &[],
            };
            let changes = kinds.iter().map(|kind| Change { key: watched.key, name: None, kind: *kind });
            self.pending.changes.extend(changes);
        }
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        let used = self.watched.iter().flat_map(|watched| watched.route.watches()).collect();
        self.inotify.keep_only(&used);
    }
}

impl<K> Watched<K> {
    fn state(&self) -> State {
        match &self.route.end {
            End::Target(_) => State::Present,
            End::Nothing => State::Absent,
            End::Blind(reason) => State::Blind(reason.clone()),
        }
    }

    /// What an event says about this target's content.
    fn seen_in<'e>(&self, event: &'e Event) -> Option<(Option<&'e OsStr>, ChangeKind)> {
        if self.route.target() != Some(event.watch) {
            return None;
        }
        let kind = event.content_change()?;
        match self.target {
            Target::Folder | Target::Uses => Some((event.name.as_deref(), kind)),
            Target::File => Some((None, ChangeKind::Written)),
        }
    }
}
