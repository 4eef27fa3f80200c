//! What sticks to a device beyond vfiod's own life: cordons and fatal errors.
//!
//! They are kept in a file below `/run`, which a reboot empties: a device that was reset with the host starts anew.

use crate::io::FileIo;
use std::{fs, io, path::Path};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tracing::warn;
use vfiod_core::{device::DeviceId, inventory::Inventory};

/// The file in the state folder.
const NAME: &str = "marks";

/// More than any host has devices for.
const LONGEST: usize = 16 * 1024 * 1024;

const CORDONED: &str = "cordoned";
const BROKEN: &str = "aer-fatal";

/// Keeps the marks of an inventory.
pub(super) struct Marks {
    kept: String,
    saves: mpsc::UnboundedSender<Save>,
}

struct Save {
    text: String,
    done: Option<oneshot::Sender<io::Result<()>>>,
}

impl Marks {
    /// Reads what was kept into the inventory. What cannot be read is told and forgotten.
    pub(super) async fn open(folder: &Path, io: FileIo, inventory: &mut Inventory) -> Self {
        let path = folder.join(NAME);
        match io.read(&path, LONGEST).await {
            Ok(bytes) => read(&String::from_utf8_lossy(&bytes), &path, inventory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!("{}: {error}; cordons from before are forgotten", path.display()),
        }
        let (saves, mut wanted) = mpsc::unbounded_channel::<Save>();
        // One after the other, and the reactor does not wait.
        tokio::task::spawn_local(async move {
            while let Some(Save { text, done }) = wanted.recv().await {
                let writer = path.clone();
                let written = spawn_blocking(move || write(&writer, &text))
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)));
                match done {
                    Some(done) => drop(done.send(written)),
                    None => {
                        _ = written
                            .map_err(|error| warn!("{}: {error}; after a restart it is forgotten", path.display()))
                    }
                }
            }
        });
        Self { kept: text(inventory), saves }
    }

    /// Keeps what the inventory has, if that changed; `done` is told when it is on its way no longer.
    pub(super) fn keep(&mut self, inventory: &Inventory, done: Option<oneshot::Sender<io::Result<()>>>) {
        let text = text(inventory);
        if text == self.kept && done.is_none() {
            return;
        }
        self.kept.clone_from(&text);
        // The task ends with the reactor.
        let _ = self.saves.send(Save { text, done });
    }
}

/// A line a mark: the device, then what it is.
fn text(inventory: &Inventory) -> String {
    let cordoned = inventory.cordoned().map(|device| format!("{device} {CORDONED}\n"));
    cordoned.chain(inventory.broken().map(|device| format!("{device} {BROKEN}\n"))).collect()
}

fn read(text: &str, path: &Path, inventory: &mut Inventory) {
    for line in text.lines() {
        let mark = line.split_once(' ').and_then(|(device, mark)| Some((device.parse::<DeviceId>().ok()?, mark)));
        match mark {
            Some((device, CORDONED)) => _ = inventory.cordon(device, true),
            Some((device, BROKEN)) => inventory.broke(device),
            _ => warn!("{}: {line:?} is not understood and left out", path.display()),
        }
    }
}

/// Replaces the file at once: whoever reads it finds the old text or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&next, text)?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written_and_nonsense_is_left_out() {
        let mut inventory = Inventory::default();
        let (gpu, vgpu): (DeviceId, DeviceId) =
            ("0000:3b:00.0".parse().unwrap(), "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001".parse().unwrap());
        inventory.cordon(gpu, true);
        inventory.cordon(vgpu, true);
        inventory.broke(gpu);
        let written = text(&inventory);
        let mut again = Inventory::default();
        read(&format!("{written}\nnonsense\n0000:3b:00.0 blessed\n"), Path::new("marks"), &mut again);
        assert_eq!(text(&again), written);
        assert_eq!(written.lines().count(), 3);
    }

    #[test]
    fn the_file_is_replaced_and_its_folder_made() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("run/vfiod/marks");
        write(&path, "one\n").unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
