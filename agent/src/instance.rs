//! Which of this host's vfiods keeps the state.
//!
//! While a new version is rolled out, two run beside each other: both serve the kubelet, each on sockets of its own, but
//! only one may write the marks and the remembered CR, answer on the status socket and own what is pinned in the kernel. It holds a lock on a
//! file in the state folder. The kernel gives the lock to the next one in the moment in which its holder ends, however
//! it ends (`flock(2)`).

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::Arc,
    thread,
};
use tokio::sync::watch;
use tracing::{info, warn};

/// The file in the state folder.
const NAME: &str = "lock";

/// Whether this vfiod keeps the state. The lock is held as long as one of its clones lives.
#[derive(Debug, Clone)]
pub struct Keeper(watch::Receiver<Standing>);

#[derive(Debug, Clone)]
enum Standing {
    /// Another vfiod keeps the state.
    Beside,
    /// This one does. Without a lock where none can be had: then nobody else has it either.
    Keeps { _lock: Option<Arc<File>> },
}

impl Keeper {
    /// Takes the lock in `folder`, which is made if need be; where another vfiod has it, a thread waits for it.
    ///
    /// Where there is no lock to be had, this vfiod keeps the state and says why it does so without one.
    #[must_use]
    pub fn stand(folder: &Path) -> Self {
        match try_lock(folder) {
            Ok(Ok(lock)) => Self::keeps(Some(lock)),
            Ok(Err(taken)) => Self::wait_beside(taken, folder),
            Err(error) => {
                warn!(
                    "{}: {error}; two vfiods on this host would not know of each other: name a folder that can be \
                     written with --state-dir",
                    folder.join(NAME).display()
                );
                Self::keeps(None)
            }
        }
    }

    /// Of a command that reads what is kept, and never writes it.
    #[must_use]
    pub fn onlooker() -> Self {
        Self(watch::channel(Standing::Beside).1)
    }

    fn keeps(lock: Option<File>) -> Self {
        Self(watch::channel(Standing::Keeps { _lock: lock.map(Arc::new) }).1)
    }

    fn wait_beside(file: File, folder: &Path) -> Self {
        info!(
            "another vfiod keeps the state in {}; this one serves beside it and takes over when it ends",
            folder.display()
        );
        let (told, standing) = watch::channel(Standing::Beside);
        // Waiting for a lock cannot be called off. The thread ends with the process.
        let waiting = thread::Builder::new().name("vfiod-lock".to_owned()).spawn(move || {
            let locked = loop {
                match file.lock() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    locked => break locked,
                }
            };
            match locked {
                Ok(()) => {
                    info!("the other vfiod has ended: this one keeps the state now");
                    // Nobody listens any more when the agent stops.
                    let _ = told.send(Standing::Keeps { _lock: Some(Arc::new(file)) });
                }
                Err(error) => {
                    warn!("the lock of the state cannot be waited for: {error}; restart vfiod when it is alone")
                }
            }
        });
        if let Err(error) = waiting {
            warn!("no thread can wait for the lock of the state: {error}; restart vfiod when it is alone");
        }
        Self(standing)
    }

    /// Whether it does so now.
    #[must_use]
    pub fn is_keeper(&self) -> bool {
        matches!(*self.0.borrow(), Standing::Keeps { .. })
    }

    /// Waits until it does. Cancelling it loses nothing.
    pub async fn elected(&mut self) {
        let keeps = self.0.wait_for(|standing| matches!(standing, Standing::Keeps { .. })).await.is_ok();
        if !keeps {
            // The thread is gone and will never say so.
            std::future::pending::<()>().await;
        }
    }
}

/// The locked file, or the file whose lock another one has.
fn try_lock(folder: &Path) -> io::Result<Result<File, File>> {
    fs::create_dir_all(folder)?;
    let file = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(NAME))?;
    match file.try_lock() {
        Ok(()) => Ok(Ok(file)),
        Err(TryLockError::WouldBlock) => Ok(Err(file)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tempfile::TempDir;

    #[tokio::test]
    async fn of_two_the_second_takes_over_when_the_first_ends() {
        let folder = TempDir::new().unwrap();
        let state = folder.path().join("run/vfiod");
        let first = Keeper::stand(&state);
        let mut second = Keeper::stand(&state);
        assert!(first.is_keeper() && !second.is_keeper());
        let clone = first.clone();
        drop(first);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), second.elected()).await.is_err(),
            "a clone still has it"
        );
        drop(clone);
        tokio::time::timeout(Duration::from_secs(20), second.elected()).await.unwrap();
        assert!(second.is_keeper());
    }

    #[tokio::test]
    async fn without_a_folder_for_the_lock_it_keeps_the_state_alone() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let mut keeper = Keeper::stand(&file);
        assert!(keeper.is_keeper());
        keeper.elected().await;
    }
}
