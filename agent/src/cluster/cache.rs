//! The last good configuration, on disk: a node that boots while the API server is away still serves.
//!
//! Of two vfiods that run beside each other only the one that keeps the state ([`Keeper`]) writes it: the other one may
//! know an older CR, and would leave that to the next boot. What it has read meanwhile it writes when it takes over.

use super::{CrName, Document};
use crate::{instance::Keeper, io::FileIo};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::warn;
use vfiod_core::permit::DOCUMENT_MAX;

/// The file in the cache folder.
const NAME: &str = "kubevirt.json";
/// The version of its format.
const FORMAT: u32 = 1;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    format: u32,
    namespace: String,
    name: String,
    /// Of all of these: a file that a failing disk has changed is no configuration.
    checksum: String,
    document: String,
}

impl Kept {
    fn of(document: &Document) -> Self {
        let Document { namespace, name, text } = document.clone();
        let mut kept = Self { format: FORMAT, namespace, name, checksum: String::new(), document: text };
        kept.checksum = kept.sum();
        kept
    }

    /// FNV-1a, 64 bits (Fowler, Noll, Vo): it tells damage, not malice, which could as well write a good file.
    fn sum(&self) -> String {
        let parts = [self.namespace.as_str(), "\0", self.name.as_str(), "\0", self.document.as_str()];
        let hash = parts
            .iter()
            .flat_map(|part| part.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }

    /// What was read, if it is what was written and of the CR that is wanted.
    fn checked(bytes: &[u8], wanted: &CrName) -> Result<Document, String> {
        let kept: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if kept.format != FORMAT {
            return Err(format!("its format is {}, not {FORMAT}", kept.format));
        }
        if kept.sum() != kept.checksum {
            return Err("its checksum does not match".to_owned());
        }
        if !wanted.allows(&kept.namespace, &kept.name) {
            return Err(format!("it is of KubeVirt {}/{}, not of {wanted}", kept.namespace, kept.name));
        }
        Ok(Document { namespace: kept.namespace, name: kept.name, text: kept.document })
    }
}

/// Keeps the last good configuration.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    io: FileIo,
    keeper: Keeper,
    /// What the file holds, as far as this vfiod knows.
    kept: Option<Document>,
    /// What it should hold, where another vfiod writes it as yet.
    waiting: Option<Document>,
    saves: mpsc::UnboundedSender<Document>,
}

impl Cache {
    /// Opens the cache in `folder`; returns what it holds of the wanted CR. What cannot be used is told and ignored.
    ///
    /// Runs on the reactor; what is kept is written by a task beside it, and only while this vfiod keeps the state.
    pub async fn open(folder: &Path, io: FileIo, wanted: &CrName, keeper: Keeper) -> (Self, Option<Document>) {
        let path = folder.join(NAME);
        let kept = read(&path, io, wanted).await;
        let (saves, mut wanted) = mpsc::unbounded_channel::<Document>();
        let (file, writer) = (path.clone(), keeper.clone());
        tokio::task::spawn_local(async move {
            while let Some(mut document) = wanted.recv().await {
                while let Ok(newer) = wanted.try_recv() {
                    document = newer;
                }
                // The lock is held until it is written: the next vfiod may write as soon as it has the lock.
                let (target, keeper) = (file.clone(), writer.clone());
                let written = spawn_blocking(move || {
                    let written = write(&target, &document);
                    drop(keeper);
                    written
                });
                let written = written.await;
                if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    warn!(
                        "{}: the configuration cannot be remembered: {error}; see that --cache-dir names a folder that can be written and outlives a reboot",
                        file.display()
                    );
                }
            }
        });
        (Self { path, io, keeper, kept: kept.clone(), waiting: None, saves }, kept)
    }

    /// Keeps `document`, if it is another one than is kept; while another vfiod keeps the state, once that has ended.
    pub fn keep(&mut self, document: Document) {
        if !self.keeper.is_keeper() {
            self.waiting = Some(document);
            return;
        }
        self.waiting = None;
        if self.kept.as_ref() != Some(&document) {
            self.save(document);
        }
    }

    /// This vfiod keeps the state from now on: it writes what it has read meanwhile. Where it has read nothing itself,
    /// returns what the one before it has left.
    pub async fn take_over(&mut self, wanted: &CrName) -> Option<Document> {
        if let Some(document) = self.waiting.take() {
            // Whatever the other one has written: this is what is in force.
            self.save(document);
            return None;
        }
        self.kept = read(&self.path, self.io, wanted).await;
        self.kept.clone()
    }

    fn save(&mut self, document: Document) {
        self.kept = Some(document.clone());
        // The task ends with the reactor.
        let _ = self.saves.send(document);
    }
}

/// What the file holds of the wanted CR. What cannot be used is told and ignored.
async fn read(path: &Path, io: FileIo, wanted: &CrName) -> Option<Document> {
    match io.read(path, 2 * DOCUMENT_MAX).await {
        Ok(bytes) => Kept::checked(&bytes, wanted)
            .map_err(|why| warn!("{}: the remembered configuration is ignored: {why}", path.display()))
            .ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            warn!("{}: the remembered configuration cannot be read: {error}", path.display());
            None
        }
    }
}

/// Replaces the file at once, and has it on the disk before: whoever reads it finds the old one or the new one whole,
/// also after the power has failed.
fn write(path: &Path, document: &Document) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let next: PathBuf = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(&Kept::of(document))?)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{IoMode, Runtime};
    use proptest::prelude::*;

    fn document() -> Document {
        Document { namespace: "kubevirt".into(), name: "kv".into(), text: "{\"kind\":\"KubeVirt\"}".into() }
    }

    /// The lock of the state is beside what is remembered, as nothing else needs it here.
    fn keeper(folder: &tempfile::TempDir) -> Keeper {
        Keeper::stand(&folder.path().join("state"))
    }

    #[test]
    fn of_two_the_one_that_keeps_the_state_writes_and_the_other_one_when_it_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let of = |text: &str| Document { text: format!("{{\"of\":\"{text}\"}}"), ..document() };
        let (runtime, chosen) = Runtime::start(IoMode::Plain).unwrap();
        runtime.block_on(async {
            let open = async |keeper: &Keeper| Cache::open(&path, chosen.kind, &CrName::Only, keeper.clone()).await;
            let kept = async || read(&path.join(NAME), chosen.kind, &CrName::Only).await;
            let written = async |wanted: &Document| {
                for _ in 0..4000 {
                    if kept().await.as_ref() == Some(wanted) {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                panic!("{wanted:?} is not written: {:?}", kept().await);
            };
            let first = keeper(&folder);
            let (mut old, _) = open(&first).await;
            let mut second = keeper(&folder);
            let (mut new, _) = open(&second).await;
            new.keep(of("the new one"));
            old.keep(of("the old one"));
            written(&of("the old one")).await;
            drop((old, first));
            second.elected().await;
            assert_eq!(new.take_over(&CrName::Only).await, None);
            written(&of("the new one")).await;

            // One that has read nothing itself goes on with what it finds then.
            let mut third = keeper(&folder);
            let (mut next, _) = open(&third).await;
            new.keep(of("the new one, edited"));
            written(&of("the new one, edited")).await;
            drop((new, second));
            third.elected().await;
            assert_eq!(next.take_over(&CrName::Only).await, Some(of("the new one, edited")));
        });
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er");
        write(&path.join(NAME), &document()).unwrap();
        let (runtime, chosen) = Runtime::start(IoMode::Plain).unwrap();
        let open = |wanted: &str| {
            let wanted: CrName = wanted.parse().unwrap();
            runtime.block_on(async { Cache::open(&path, chosen.kind, &wanted, keeper(&folder)).await.1 })
        };
        assert_eq!(open("only"), Some(document()));
        assert_eq!(open("kubevirt/kv"), Some(document()));
        assert_eq!(open("other/kv"), None, "another CR than is wanted now");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn an_empty_folder_remembers_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, chosen) = Runtime::start(IoMode::Plain).unwrap();
        let (_, kept) = runtime.block_on(Cache::open(folder.path(), chosen.kind, &CrName::Only, keeper(&folder)));
        assert_eq!(kept, None);
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_no_configuration(place in 0..1000usize, byte in any::<u8>()) {
            let good = serde_json::to_vec(&Kept::of(&document())).unwrap();
            let mut bad = good.clone();
            let place = place % bad.len();
            bad[place] = byte;
            let read = Kept::checked(&bad, &CrName::Only);
            // Another spelling of the same is the same.
            prop_assert!(read.is_err() || read == Ok(document()), "{read:?}");
        }

        #[test]
        fn a_cut_file_is_no_configuration(length in 0..1000usize) {
            let good = serde_json::to_vec(&Kept::of(&document())).unwrap();
            prop_assert!(Kept::checked(&good[..length % good.len()], &CrName::Only).is_err());
        }
    }
}
