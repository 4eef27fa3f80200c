//! Streams of what is opened, each name with the moment at which it came.

use anyhow::{Context, Result, bail};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use vfiod_proto::status::HoldersRequest;

/// A stream. Its thread lives on until there is no more to come.
pub struct Follow {
    opened: Receiver<(String, Instant)>,
}

impl Follow {
    /// Waits until the group of this number was opened, and says when that was known. What came before is forgotten.
    pub fn wait_for(&self, group: &str, limit: Duration) -> Result<Instant> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.opened.recv_timeout(left) {
                Ok((name, at)) if name == group => return Ok(at),
                Ok(_) => {}
                Err(error) => bail!("nothing tells within {limit:?} that group {group} was opened: {error}"),
            }
        }
    }
}

/// What inotify tells of the files in `folder`.
pub fn inotify(folder: &str) -> Result<Follow> {
    let watch = inotify::init(CreateFlags::CLOEXEC).context("no inotify")?;
    inotify::add_watch(&watch, folder, WatchFlags::OPEN).with_context(|| format!("{folder} cannot be watched"))?;
    let (tell, opened) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        while let Ok(event) = reader.next() {
            debug_assert!(event.events().contains(ReadFlags::OPEN));
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if tell.send((name, Instant::now())).is_err() {
                break;
            }
        }
    });
    Ok(Follow { opened })
}

/// What the daemon at `socket` tells of holders.
pub fn holders(socket: &Path) -> Result<Follow> {
    let socket = socket.to_owned();
    let (tell, opened) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        let ended = stream(&socket, &tell, &ready);
        drop(ready.send(ended));
    });
    is_ready.recv().context("the stream of holders ended without a word")??;
    Ok(Follow { opened })
}

fn stream(socket: &Path, tell: &Sender<(String, Instant)>, ready: &Sender<Result<()>>) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = vfiod::status::connect(socket).await?;
        let mut client = client.with_context(|| format!("no vfiod answers on {}", socket.display()))?;
        let mut events = client.follow_holders(HoldersRequest {}).await?.into_inner();
        drop(ready.send(Ok(())));
        while let Some(event) = events.message().await? {
            if event.what == "opened" && event.kind == "group" && tell.send((event.id, Instant::now())).is_err() {
                break;
            }
        }
        Ok(())
    })
}
