//! What sticks to a device beyond vfiod's own life: cordons and fatal errors.
//!
//! They are kept in a file below `/run`, which a reboot empties: a device that was reset with the host starts anew.

use crate::io::{FileIo, replace};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};
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
    path: PathBuf,
    io: FileIo,
    /// Whether this vfiod writes the file, or another one that runs beside it.
    writes: bool,
    kept: BTreeSet<Mark>,
    saves: mpsc::UnboundedSender<Save>,
}

/// A device and what it is.
type Mark = (DeviceId, &'static str);

struct Save {
    text: String,
    done: Option<oneshot::Sender<io::Result<()>>>,
}

impl Marks {
    /// Reads what was kept into the inventory. What cannot be read is told and forgotten. The file is written only where
    /// this vfiod keeps the state (`writes`).
    pub(super) async fn open(folder: &Path, io: FileIo, writes: bool, inventory: &mut Inventory) -> Self {
        let path = folder.join(NAME);
        let (saves, mut wanted) = mpsc::unbounded_channel::<Save>();
        let file = path.clone();
        // One after the other, and the reactor does not wait.
        tokio::task::spawn_local(async move {
            while let Some(Save { text, done }) = wanted.recv().await {
                let writer = file.clone();
                let written = spawn_blocking(move || replace(&writer, &text))
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)));
                match done {
                    Some(done) => drop(done.send(written)),
                    None => {
                        _ = written
                            .map_err(|error| warn!("{}: {error}; after a restart it is forgotten", file.display()))
                    }
                }
            }
        });
        let mut marks = Self { path, io, writes, kept: BTreeSet::new(), saves };
        marks.read_into(inventory).await;
        marks
    }

    /// From now on this vfiod writes the file. What the one before has changed meanwhile, on behalf of an administrator,
    /// holds here too.
    pub(super) async fn take_over(&mut self, inventory: &mut Inventory) {
        self.read_into(inventory).await;
        self.writes = true;
        self.keep(inventory, None);
    }

    /// Applies what differs between the file and what was last known of it.
    async fn read_into(&mut self, inventory: &mut Inventory) {
        let now = match self.io.read(&self.path, LONGEST).await {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes), &self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => {
                warn!("{}: {error}; cordons from before are forgotten", self.path.display());
                return;
            }
        };
        apply(&self.kept, &now, inventory);
        self.kept = now;
    }

    /// Keeps what the inventory has, if that changed; `done` is told when it is on its way no longer.
    pub(super) fn keep(&mut self, inventory: &Inventory, done: Option<oneshot::Sender<io::Result<()>>>) {
        if !self.writes {
            if let Some(done) = done {
                let _ = done.send(Err(io::Error::other("another vfiod on this host keeps the state until it ends")));
            }
            return;
        }
        let marks = of(inventory);
        if marks == self.kept && done.is_none() {
            return;
        }
        let text = text(&marks);
        self.kept = marks;
        // The task ends with the reactor.
        let _ = self.saves.send(Save { text, done });
    }
}

fn of(inventory: &Inventory) -> BTreeSet<Mark> {
    let cordoned = inventory.cordoned().map(|device| (device, CORDONED));
    cordoned.chain(inventory.broken().map(|device| (device, BROKEN))).collect()
}

/// A line a mark: the device, then what it is.
fn text(marks: &BTreeSet<Mark>) -> String {
    marks.iter().map(|(device, mark)| format!("{device} {mark}\n")).collect()
}

fn parse(text: &str, path: &Path) -> BTreeSet<Mark> {
    let mut marks = BTreeSet::new();
    for line in text.lines() {
        let mark = line.split_once(' ').and_then(|(device, mark)| Some((device.parse::<DeviceId>().ok()?, mark)));
        match mark {
            Some((device, CORDONED)) => _ = marks.insert((device, CORDONED)),
            Some((device, BROKEN)) => _ = marks.insert((device, BROKEN)),
            _ => warn!("{}: {line:?} is not understood and left out", path.display()),
        }
    }
    marks
}

/// Brings the inventory from the marks `before` to those of `now`. What it has found out by itself since stays.
fn apply(before: &BTreeSet<Mark>, now: &BTreeSet<Mark>, inventory: &mut Inventory) {
    for (device, mark) in before.difference(now) {
        match *mark {
            CORDONED => _ = inventory.cordon(*device, false),
            _ => _ = inventory.cleared(*device),
        }
    }
    for (device, mark) in now.difference(before) {
        match *mark {
            CORDONED => _ = inventory.cordon(*device, true),
            _ => inventory.broke(*device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> (DeviceId, DeviceId) {
        ("0000:3b:00.0".parse().unwrap(), "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001".parse().unwrap())
    }

    #[test]
    fn marks_are_read_as_they_were_written_and_nonsense_is_left_out() {
        let mut inventory = Inventory::default();
        let (gpu, vgpu) = devices();
        inventory.cordon(gpu, true);
        inventory.cordon(vgpu, true);
        inventory.broke(gpu);
        let written = text(&of(&inventory));
        let mut again = Inventory::default();
        let read = parse(&format!("{written}\nnonsense\n0000:3b:00.0 blessed\n"), Path::new("marks"));
        apply(&BTreeSet::new(), &read, &mut again);
        assert_eq!(text(&of(&again)), written);
        assert_eq!(written.lines().count(), 3);
    }

    #[test]
    fn what_another_vfiod_has_changed_holds_and_so_does_what_was_found_out_meanwhile() {
        let (gpu, vgpu) = devices();
        let at_start = BTreeSet::from([(gpu, CORDONED), (gpu, BROKEN)]);
        let mut inventory = Inventory::default();
        apply(&BTreeSet::new(), &at_start, &mut inventory);
        inventory.broke(vgpu);
        // The other one: uncordoned and cleared the one, cordoned the other.
        apply(&at_start, &BTreeSet::from([(vgpu, CORDONED)]), &mut inventory);
        assert_eq!(of(&inventory), BTreeSet::from([(vgpu, CORDONED), (vgpu, BROKEN)]));
    }
}
