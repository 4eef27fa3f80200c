//! The floor's one inotify watch, and the stream of lists that reads it.

use super::book::Book;
use bytes::Bytes;
use futures_util::{Stream, stream};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::{collections::BTreeSet, io, mem::MaybeUninit, os::fd::OwnedFd, path::Path, sync::Arc};
use tokio::io::{Interest, unix::AsyncFd};
use tonic::Status;

/// Opens the watch on the folder of the nodes.
pub(super) fn open(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&descriptor, folder, WatchFlags::CREATE | WatchFlags::DELETE)?;
    // SAFETY: an `OwnedFd` is open, stays the same descriptor, and is closed only when the `AsyncFd` drops it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}

/// The list as it is, then one list for all changes that are there at a wake-up.
pub(super) fn lists(book: Arc<Book>, watch: AsyncFd<OwnedFd>) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    stream::unfold((book, watch, BTreeSet::new(), false), |(book, watch, mut ill, begun)| async move {
        if begun {
            loop {
                let mut guard = watch.readable().await.ok()?;
                if take(&book, watch.get_ref(), &mut ill) {
                    break;
                }
                guard.clear_ready();
            }
        }
        let list = book.list(&ill);
        Some((Ok(list), (book, watch, ill, true)))
    })
}

/// Takes all events; says whether there were any.
fn take(book: &Book, watch: &OwnedFd, ill: &mut BTreeSet<u32>) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 64 << 10];
    let mut reader = Reader::new(watch, &mut buffer);
    let mut changed = false;
    while let Ok(event) = reader.next() {
        let group = event.file_name().and_then(|name| name.to_str().ok()).and_then(|name| name.parse().ok());
        if let Some(place) = group.and_then(|group| book.by_group(group)) {
            changed |= if event.events().contains(ReadFlags::DELETE) { ill.insert(place) } else { ill.remove(&place) };
        }
    }
    changed
}
