//! The way from the root to a target: every folder looked into, and what was looked for there.

use super::{
    Target,
    inotify::{Event, Inotify, Role, WatchId},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// As many symlinks as the kernel follows in one path (kernel: `include/linux/namei.h`, `MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// At the target, under this watch.
    Target(WatchId),
    /// At a name that does not exist.
    Nothing,
    /// Where nothing can be watched.
    Blind(String),
}

/// The folders on the way, each with the name that leads on, and where it ended.
#[derive(Debug)]
pub(super) struct Route {
    hops: Vec<(WatchId, OsString)>,
    pub(super) end: End,
}

enum Step {
    Name(OsString),
    Parent,
}

impl Route {
    /// Walks `path` as the kernel would. Each folder is watched *before* it is looked into, so a change that the walk
    /// misses gives an event afterwards.
    pub(super) fn walk(inotify: &Inotify, path: &Path, target: Target) -> Self {
        let mut hops = Vec::new();
        let end = walk(inotify, path, target, &mut hops)
            .unwrap_or_else(|error| if is_absence(&error) { End::Nothing } else { End::Blind(error.to_string()) });
        Self { hops, end }
    }

    /// The watch of the target itself.
    pub(super) const fn target(&self) -> Option<WatchId> {
        match self.end {
            End::Target(watch) => Some(watch),
            End::Nothing | End::Blind(_) => None,
        }
    }

    /// Every watch in use.
    pub(super) fn watches(&self) -> impl Iterator<Item = WatchId> {
        self.hops.iter().map(|(watch, _)| *watch).chain(self.target())
    }

    /// Whether an event may have led the way elsewhere.
    pub(super) fn is_changed_by(&self, event: &Event) -> bool {
        if event.is_end_of_watch() {
            return self.watches().any(|watch| watch == event.watch);
        }
        event.is_about_names()
            && self.hops.iter().any(|(watch, name)| *watch == event.watch && event.name.as_ref() == Some(name))
    }
}

fn walk(inotify: &Inotify, path: &Path, target: Target, hops: &mut Vec<(WatchId, OsString)>) -> io::Result<End> {
    let mut here = PathBuf::from("/");
    let mut ahead: VecDeque<Step> = steps(path).collect();
    let mut links = 0;
    let mut unwatched = None;
    while let Some(step) = ahead.pop_front() {
        let Step::Name(name) = step else {
            here.pop();
            continue;
        };
        match inotify.watch(&here, Role::Hop) {
            Ok(watch) => hops.push((watch, name.clone())),
            // A folder may be passable without being readable: go on, and remember that it is not seen.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unwatched = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        let next = here.join(name);
        let status = match fs::symlink_metadata(&next) {
            Ok(status) => status,
            Err(error) if is_absence(&error) => return Ok(unwatched.map_or(End::Nothing, End::Blind)),
            Err(error) => return Ok(End::Blind(format!("cannot look at {}: {error}", next.display()))),
        };
        if status.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Ok(End::Nothing);
            }
            let link = fs::read_link(&next)?;
            if link.is_absolute() {
                here = PathBuf::from("/");
            }
            for step in steps(&link).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(step);
            }
        } else if status.is_dir() {
            here = next;
        } else {
            // A file with more path behind it leads nowhere.
            return if target == Target::File && ahead.is_empty() {
                inotify.watch(&next, Role::File).map(End::Target)
            } else {
                Ok(End::Nothing)
            };
        }
    }
    match target {
        Target::Folder => inotify.watch(&here, Role::Folder).map(End::Target),
        Target::Uses => inotify.watch(&here, Role::Uses).map(End::Target),
        Target::File => Ok(End::Nothing),
    }
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Step::Name(name.to_owned())),
        Component::ParentDir => Some(Step::Parent),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
