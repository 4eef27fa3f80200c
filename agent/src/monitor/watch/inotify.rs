//! The inotify descriptor: adding watches, and reading events into values.

use super::ChangeKind;
use crate::monitor::readable::readable;
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    cell::RefCell,
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};
use tokio::io::unix::AsyncFd;

/// A watch descriptor. The kernel does not give a number again soon
/// (kernel: `fs/notify/inotify/inotify_user.c`, `idr_alloc_cyclic`).
pub(super) type WatchId = i32;

/// Events taken at once, so that a storm cannot keep the reactor from its other work.
const MOST_EVENTS: usize = 16 * 1024;

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A folder on the way to a target.
    Hop,
    /// A target folder.
    Folder,
    /// A target folder whose files are watched for being opened and closed.
    Uses,
    /// A target file.
    File,
}

/// One event, out of the kernel's buffer.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) watch: WatchId,
    pub(super) name: Option<OsString>,
    flags: ReadFlags,
}

pub(super) struct Inotify {
    descriptor: AsyncFd<OwnedFd>,
    /// The watches that the kernel holds for us.
    held: RefCell<HashSet<WatchId>>,
}

impl Role {
    fn flags(self) -> WatchFlags {
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let folder = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        match self {
            Self::Hop => names | itself | folder,
            Self::Folder => names | itself | folder | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB,
            Self::Uses => Self::Folder.flags() | WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE,
            Self::File => {
                itself | WatchFlags::DONT_FOLLOW | WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY | WatchFlags::ATTRIB
            }
        }
    }
}

impl Inotify {
    pub(super) fn new() -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|errno| match errno {
            Errno::MFILE => io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "no inotify descriptor: the limit fs.inotify.max_user_instances (or of open files) is reached; raise it",
            ),
            errno => errno.into(),
        })?;
        Ok(Self { descriptor: readable(descriptor)?, held: RefCell::default() })
    }

    /// Watches the inode at `path`. One inode has one watch, whose roles add up.
    pub(super) fn watch(&self, path: &Path, role: Role) -> io::Result<WatchId> {
        let flags = role.flags() | WatchFlags::MASK_ADD;
        let watch = inotify::add_watch(self.descriptor.get_ref(), path, flags).map_err(|errno| {
            let reason = match errno {
                Errno::NOSPC => "the limit fs.inotify.max_user_watches is reached; raise it".to_owned(),
                errno => io::Error::from(errno).to_string(),
            };
            io::Error::new(errno.kind(), format!("cannot watch {}: {reason}", path.display()))
        })?;
        self.held.borrow_mut().insert(watch);
        Ok(watch)
    }

    /// Gives the other watches back.
    pub(super) fn keep_only(&self, used: &HashSet<WatchId>) {
        self.held.borrow_mut().retain(|watch| {
            if !used.contains(watch) {
                // The kernel may have ended it already; either way it is gone.
                let _ = inotify::remove_watch(self.descriptor.get_ref(), *watch);
            }
            used.contains(watch)
        });
    }

    /// How many watches the kernel holds for us.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.borrow().len()
    }

    /// Waits for events and takes those that are there. Cancelling it loses nothing.
    pub(super) async fn events(&self) -> io::Result<Vec<Event>> {
        loop {
            let mut guard = self.descriptor.readable().await?;
            let mut events = Vec::new();
            if self.take(&mut events)? {
                guard.clear_ready();
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Says whether the queue was emptied.
    fn take(&self, events: &mut Vec<Event>) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(self.descriptor.get_ref(), &mut buffer);
        // What is in the buffer is no longer in the kernel: never leave it there.
        while events.len() < MOST_EVENTS || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => {
                    let flags = event.events();
                    if flags.contains(ReadFlags::IGNORED) {
                        self.held.borrow_mut().remove(&event.wd());
                    }
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    events.push(Event { watch: event.wd(), name, flags });
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(false)
    }
}

impl Event {
    /// Whether the kernel dropped events.
    pub(super) const fn is_overflow(&self) -> bool {
        self.flags.contains(ReadFlags::QUEUE_OVERFLOW)
    }

    /// Whether the watched inode was deleted, moved or unmounted.
    pub(super) fn is_end_of_watch(&self) -> bool {
        self.flags.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF)
    }

    /// Whether a name came or went.
    pub(super) fn is_about_names(&self) -> bool {
        matches!(self.content_change(), Some(ChangeKind::Created | ChangeKind::Removed))
    }

    /// What it says about the content of the watched inode.
    pub(super) const fn content_change(&self) -> Option<ChangeKind> {
        let flags = self.flags;
        if flags.contains(ReadFlags::ISDIR) && flags.intersects(ReadFlags::OPEN.union(ReadFlags::CLOSE_NOWRITE)) {
            // Somebody lists the folder: this process, for one.
            None
        } else if flags.intersects(ReadFlags::CREATE.union(ReadFlags::MOVED_TO)) {
            Some(ChangeKind::Created)
        } else if flags.intersects(ReadFlags::DELETE.union(ReadFlags::MOVED_FROM)) {
            Some(ChangeKind::Removed)
        } else if flags.intersects(ReadFlags::CLOSE_WRITE.union(ReadFlags::MODIFY)) {
            Some(ChangeKind::Written)
        } else if flags.contains(ReadFlags::ATTRIB) {
            Some(ChangeKind::Attrib)
        } else if flags.contains(ReadFlags::OPEN) {
            Some(ChangeKind::Opened)
        } else if flags.contains(ReadFlags::CLOSE_NOWRITE) {
            Some(ChangeKind::Closed)
        } else {
            None
        }
    }
}
