//! The last good configuration, on disk: a node that boots while the API server is away still serves.

use super::{CrName, Document};
use crate::io::FileIo;
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
    kept: Option<Document>,
    saves: mpsc::UnboundedSender<Document>,
}

impl Cache {
    /// Opens the cache in `folder`; returns what it holds of the wanted CR. What cannot be used is told and ignored.
    ///
    /// Runs on the reactor; what is kept is written by a task beside it.
    pub async fn open(folder: &Path, io: FileIo, wanted: &CrName) -> (Self, Option<Document>) {
        let path = folder.join(NAME);
        let kept = match io.read(&path, 2 * DOCUMENT_MAX).await {
            Ok(bytes) => Kept::checked(&bytes, wanted)
                .map_err(|why| warn!("{}: the remembered configuration is ignored: {why}", path.display()))
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!("{}: the remembered configuration cannot be read: {error}", path.display());
                None
            }
        };
        let (saves, mut wanted) = mpsc::unbounded_channel::<Document>();
        tokio::task::spawn_local(async move {
            while let Some(mut document) = wanted.recv().await {
                while let Ok(newer) = wanted.try_recv() {
                    document = newer;
                }
                let target = path.clone();
                let written = spawn_blocking(move || write(&target, &document)).await;
                if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    warn!(
                        "{}: the configuration cannot be remembered: {error}; see that --cache-dir names a folder that can be written and outlives a reboot",
                        path.display()
                    );
                }
            }
        });
        (Self { kept: kept.clone(), saves }, kept)
    }

    /// Keeps `document`, if it is another one than is kept.
    pub fn keep(&mut self, document: Document) {
        if self.kept.as_ref() == Some(&document) {
            return;
        }
        self.kept = Some(document.clone());
        // The task ends with the reactor.
        let _ = self.saves.send(document);
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

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er");
        write(&path.join(NAME), &document()).unwrap();
        let (runtime, chosen) = Runtime::start(IoMode::Plain).unwrap();
        let open = |wanted: &str| {
            let wanted: CrName = wanted.parse().unwrap();
            runtime.block_on(async { Cache::open(&path, chosen.kind, &wanted).await.1 })
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
        let (_, kept) = runtime.block_on(Cache::open(folder.path(), chosen.kind, &CrName::Only));
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
