//! Following a file's changes: edited in place, replaced, or swapped through the symlinks of a ConfigMap volume.
//!
//! A ConfigMap volume holds `file -> ..data/file` and `..data -> ..2026_08_01_…`; an update renames a new `..data` over
//! the old one (kubernetes: `pkg/volume/util/atomic_writer.go`, `AtomicWriter.Write`).

use crate::monitor::watch::{State, Watcher};
use std::{io, path::Path, time::Duration};
use tokio::time::Instant;

/// How long a file must be left alone before it is worth reading: editors truncate first and write then.
const QUIET: Duration = Duration::from_millis(75);
/// The longest wait for quiet, for a file that somebody keeps writing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says when one file may have changed. Whether it did, its bytes tell: read them again and compare.
pub struct Follow {
    watcher: Watcher<()>,
    quiet: Duration,
    patience: Duration,
    unrest: Option<Unrest>,
}

/// Changes that were seen and not told yet.
#[derive(Clone, Copy)]
struct Unrest {
    first: Instant,
    last: Instant,
}

impl Follow {
    /// Follows the file at `path`, which need not exist.
    ///
    /// # Errors
    /// When the kernel gives no inotify descriptor.
    pub fn new(path: &Path) -> io::Result<Self> {
        Self::with_waits(path, QUIET, PATIENCE)
    }

    fn with_waits(path: &Path, quiet: Duration, patience: Duration) -> io::Result<Self> {
        let mut watcher = Watcher::new()?;
        watcher.watch_file((), path);
        Ok(Self { watcher, quiet, patience, unrest: None })
    }

    /// Waits until the file may have changed and has settled. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the inotify descriptor cannot be read.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let Some(unrest) = self.unrest else {
                self.watcher.next().await?;
                let now = Instant::now();
                self.unrest = Some(Unrest { first: now, last: now });
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until((unrest.last + self.quiet).min(unrest.first + self.patience)) => {
                    self.unrest = None;
                    return Ok(());
                }
                batch = self.watcher.next() => {
                    batch?;
                    self.unrest = Some(Unrest { last: Instant::now(), ..unrest });
                }
            }
        }
    }

    /// Walks the path again, for the periodic rescan; a difference is told by [`changed`](Self::changed).
    pub fn recheck(&mut self) {
        self.watcher.recheck();
    }

    /// Why changes of the file cannot be seen, where they cannot.
    pub fn blind(&self) -> Option<String> {
        match self.watcher.state(()) {
            Some(State::Blind(reason)) => Some(reason),
            Some(State::Present | State::Absent) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{FileIo, IoMode, Runtime};
    use std::{fs, io::Write, os::unix::fs::symlink};
    use tempfile::TempDir;

    fn in_both_modes(scenario: impl AsyncFn(&Path, FileIo)) {
        for mode in [IoMode::Auto, IoMode::Plain] {
            let folder = TempDir::new().unwrap();
            let (runtime, chosen) = Runtime::start(mode).unwrap();
            runtime.block_on(scenario(folder.path(), chosen.kind));
        }
    }

    async fn changed(follow: &mut Follow) {
        tokio::time::timeout(Duration::from_secs(10), follow.changed()).await.expect("a change is told").unwrap();
    }

    /// Whether a change is told within a time in which any would have been.
    async fn stays_silent(follow: &mut Follow) -> bool {
        tokio::time::timeout(QUIET * 4, follow.changed()).await.is_err()
    }

    async fn content(io: FileIo, path: &Path) -> String {
        String::from_utf8(io.read(path, 1000).await.unwrap()).unwrap()
    }

    /// Lays out a new generation as the kubelet does, and swaps it in.
    fn publish(volume: &Path, generation: &str, text: &str) {
        let folder = volume.join(generation);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("vfiod.yaml"), text).unwrap();
        let old = fs::read_link(volume.join("..data")).ok();
        symlink(generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(volume.join(old)).unwrap();
        }
    }

    #[test]
    fn every_generation_of_a_configmap_is_told() {
        in_both_modes(async |volume, io| {
            publish(volume, "..2026_08_01", "1");
            let path = volume.join("vfiod.yaml");
            symlink("..data/vfiod.yaml", &path).unwrap();
            let mut follow = Follow::new(&path).unwrap();
            for number in 2..6 {
                publish(volume, &format!("..2026_08_0{number}"), &number.to_string());
                changed(&mut follow).await;
                assert_eq!(content(io, &path).await, number.to_string());
            }
        });
    }

    #[test]
    fn a_file_being_rewritten_is_told_once_it_has_settled() {
        in_both_modes(async |folder, io| {
            let path = folder.join("vfiod.yaml");
            fs::write(&path, "old").unwrap();
            let mut follow = Follow::with_waits(&path, Duration::from_millis(500), Duration::from_secs(60)).unwrap();
            let mut file = fs::File::create(&path).unwrap();
            for part in ["permitted", "Host", "Devices"] {
                let early = tokio::time::timeout(Duration::from_millis(1), follow.changed()).await;
                assert!(early.is_err(), "told before {part} was written");
                file.write_all(part.as_bytes()).unwrap();
            }
            drop(file);
            changed(&mut follow).await;
            assert_eq!(content(io, &path).await, "permittedHostDevices");
            assert!(stays_silent(&mut follow).await, "one edit is told once");
        });
    }

    #[test]
    fn a_file_that_is_never_left_alone_is_told_all_the_same() {
        in_both_modes(async |folder, _| {
            let path = folder.join("vfiod.yaml");
            fs::write(&path, "").unwrap();
            let mut follow = Follow::with_waits(&path, Duration::from_secs(60), Duration::from_millis(100)).unwrap();
            let writing = async {
                loop {
                    fs::write(&path, "x").unwrap();
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = changed(&mut follow) => {}
                () = writing => {}
            }
        });
    }

    #[test]
    fn a_file_that_comes_goes_and_is_replaced_is_told_each_time() {
        in_both_modes(async |folder, io| {
            let path = folder.join("etc/vfiod.yaml");
            let mut follow = Follow::new(&path).unwrap();
            fs::create_dir(folder.join("etc")).unwrap();
            fs::write(&path, "a").unwrap();
            changed(&mut follow).await;
            fs::write(folder.join("etc/.swp"), "b").unwrap();
            fs::rename(folder.join("etc/.swp"), &path).unwrap();
            changed(&mut follow).await;
            assert_eq!(content(io, &path).await, "b");
            fs::remove_file(&path).unwrap();
            changed(&mut follow).await;
            fs::write(folder.join("etc/other"), "").unwrap();
            assert!(stays_silent(&mut follow).await, "a neighbour is not the file");
            assert_eq!(follow.blind(), None);
        });
    }

    #[test]
    fn writes_through_another_name_are_seen() {
        // A file mounted alone into a container is written under a name that the container does not see.
        in_both_modes(async |folder, _| {
            let path = folder.join("vfiod.yaml");
            fs::write(&path, "a").unwrap();
            fs::create_dir(folder.join("elsewhere")).unwrap();
            fs::hard_link(&path, folder.join("elsewhere/same")).unwrap();
            let mut follow = Follow::new(&path).unwrap();
            fs::write(folder.join("elsewhere/same"), "b").unwrap();
            changed(&mut follow).await;
        });
    }
}
