//! `--pin`: the probe stays in the kernel when vfiod ends or is killed, and the next vfiod takes it over.
//!
//! ```text
//! /sys/fs/bpf/vfiod                            whoever has locked this folder (flock) owns what is in it
//! └── probe-4d714dcca57e1429-262144            one build of the object, one size of its ring
//!     ├── EVENTS CONFIG COUNTERS OPENING CLOSING   its maps
//!     └── group_open-vfio_group_fops_open-8123     an attached hook; the number is that of its module's folder in sysfs
//! ```
//!
//! The maps hold what was told and not read yet; a hook lives for as long as its file or the process that made it. Modules
//! that were removed and loaded again have another folder in sysfs, and so their hooks, which are of no use any more, another
//! name.

use super::{
    hooks::{HOOKS, Hook},
    object_file::record,
};
use aya::{EbpfLoader, programs::links::PinnedLink};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, statfs};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};
use tracing::{info, warn};
use vfiod_abi::maps;

/// Where the pins are, unless `--pin` says otherwise.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/vfiod";

/// The maps that the probe cannot be taken over without. The last two hold the calls that have begun.
const MAPS: [&str; 5] = [maps::EVENTS, maps::CONFIG, maps::COUNTERS, "OPENING", "CLOSING"];
/// What the folder of an object begins with; nothing else in the folder of the pins is touched.
const PREFIX: &str = "probe-";
/// `BPF_FS_MAGIC` (kernel: `include/uapi/linux/magic.h`).
const BPFFS: u64 = 0xcafe_4a11;
/// Where the kernel lists its modules.
const MODULES: &str = "/sys/module";

/// Why the probe is not pinned.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    /// Another vfiod has them.
    #[error("another vfiod owns the pins in {}", .0.display())]
    Busy(PathBuf),
    /// There is no bpffs.
    #[error("--pin: {} is in no BPF file system; mount one (`mount -t bpf bpf /sys/fs/bpf`), and in a pod let vfiod see the host's", .0.display())]
    NoBpffs(PathBuf),
    /// The folder cannot be used.
    #[error("--pin: cannot use {}: {error}; vfiod must be able to write there", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
}

/// The pins, owned by this process for as long as the value lives.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    folder: PathBuf,
    modules: PathBuf,
    _lock: OwnedFd,
}

impl Pins {
    /// Takes ownership of the pins below `root`, for an object with a ring of this size.
    pub(super) fn take(root: &Path, ring_bytes: u32) -> Result<Self, PinError> {
        let existing = if root.exists() { root } else { root.parent().unwrap_or(root) };
        let is_bpffs = statfs(existing).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == BPFFS));
        if !is_bpffs {
            return Err(PinError::NoBpffs(root.to_owned()));
        }
        Self::take_anywhere(root, ring_bytes, Path::new(MODULES))
    }

    fn take_anywhere(root: &Path, ring_bytes: u32, modules: &Path) -> Result<Self, PinError> {
        let unusable = |error| PinError::Folder { folder: root.to_owned(), error };
        fs::create_dir_all(root).map_err(unusable)?;
        let lock = lock(root).map_err(unusable)?.ok_or_else(|| PinError::Busy(root.to_owned()))?;
        let folder = root.join(format!("{PREFIX}{}-{ring_bytes}", version()));
        fs::create_dir_all(&folder).map_err(unusable)?;
        Ok(Self { root: root.to_owned(), folder, modules: modules.to_owned(), _lock: lock })
    }

    /// Removes a probe that was pinned below `root` and that nobody owns.
    pub(super) fn sweep(root: &Path) {
        let Ok(Some(_lock)) = lock(root) else { return };
        for folder in folders(root) {
            if remove(&folder) {
                info!("removed the kernel probe that an earlier vfiod has pinned in {}", folder.display());
            }
        }
    }

    /// Whether an earlier vfiod has left its maps here.
    pub(super) fn are_inherited(&self) -> bool {
        MAPS.iter().all(|map| self.folder.join(map).exists())
    }

    /// Has the object's maps pinned, or those that are pinned used in their place.
    pub(super) fn prepare(&self, loader: &mut EbpfLoader<'_>) {
        for map in MAPS {
            loader.map_pin_path(map, self.folder.join(map));
        }
    }

    /// The first map that the object does not have, although it should.
    pub(super) fn missing_map(&self) -> Option<&'static str> {
        MAPS.into_iter().find(|map| !self.folder.join(map).exists())
    }

    /// The hook, where it was pinned and its module is still the same.
    pub(super) fn link(&self, hook: &Hook) -> Option<PinnedLink> {
        PinnedLink::from_pin(self.place(hook)).ok()
    }

    /// Where the hook is pinned.
    pub(super) fn place(&self, hook: &Hook) -> PathBuf {
        let module = hook.place.module().and_then(|module| fs::metadata(self.modules.join(module)).ok());
        let number = module.map_or(0, |folder| folder.ino());
        self.folder.join(format!("{}-{}-{number}", hook.program, hook.function))
    }

    /// Removes the hooks of modules that are gone. Returns how many.
    pub(super) fn remove_stale(&self) -> usize {
        let current: Vec<PathBuf> =
            HOOKS.iter().map(|hook| self.place(hook)).chain(MAPS.iter().map(|map| self.folder.join(map))).collect();
        let stale = entries(&self.folder).into_iter().filter(|path| !current.contains(path));
        stale.filter(|path| fs::remove_file(path).is_ok()).count()
    }

    /// Removes what other builds of the object have left: this one is attached in their place.
    pub(super) fn remove_others(&self) {
        for folder in folders(&self.root).into_iter().filter(|folder| *folder != self.folder) {
            if remove(&folder) {
                info!("removed the kernel probe of another version of vfiod, {}", folder.display());
            }
        }
    }

    /// Removes everything of this build: the probe ends with this process.
    pub(super) fn give_up(self) {
        remove(&self.folder);
    }
}

/// Whether nobody owns the pins below `root`.
#[must_use]
pub fn are_free(root: &Path) -> bool {
    lock(root).is_ok_and(|lock| lock.is_some())
}

/// The beginning of the object's hash.
fn version() -> &'static str {
    let hash = record().lines().find_map(|line| line.strip_prefix("object: sha256 "));
    hash.and_then(|hash| hash.get(..16)).unwrap_or("unknown")
}

/// The lock of the folder; none where another process has it.
fn lock(root: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    entries(root).into_iter().filter(ours).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |all| all.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn remove(folder: &Path) -> bool {
    fs::remove_dir_all(folder)
        .inspect_err(|error| warn!("cannot remove {}: {error}; its hooks stay in the kernel", folder.display()))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(scene.modules().join("vfio")).unwrap();
            scene
        }

        fn root(&self) -> PathBuf {
            self.0.path().join("bpf/vfiod")
        }

        fn modules(&self) -> PathBuf {
            self.0.path().join("module")
        }

        fn take(&self) -> Result<Pins, PinError> {
            Pins::take_anywhere(&self.root(), 4096, &self.modules())
        }
    }

    fn hook(function: &str) -> &'static Hook {
        HOOKS.iter().find(|hook| hook.function == function).unwrap()
    }

    #[test]
    fn one_process_at_a_time_owns_the_pins() {
        let scene = Scene::new();
        let pins = scene.take().unwrap();
        assert!(matches!(scene.take(), Err(PinError::Busy(_))));
        assert!(!are_free(&scene.root()));
        drop(pins);
        assert!(are_free(&scene.root()));
        scene.take().unwrap();
    }

    #[test]
    fn outside_of_a_bpf_file_system_nothing_is_made_and_the_remedy_is_named() {
        let scene = Scene::new();
        let error = Pins::take(&scene.root(), 4096).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf"), "{error}");
        assert!(!scene.root().exists());
    }

    #[test]
    fn a_module_that_was_loaded_again_makes_its_hooks_stale_and_no_others() {
        let scene = Scene::new();
        let pins = scene.take().unwrap();
        let (device, tracepoint) = (hook("vfio_device_fops_release"), hook("aer_event"));
        for file in [pins.place(device), pins.place(tracepoint), pins.folder.join(maps::EVENTS)] {
            fs::write(file, "").unwrap();
        }
        assert_eq!(pins.remove_stale(), 0);
        let before = pins.place(device);
        fs::create_dir(scene.modules().join("other")).unwrap();
        fs::remove_dir(scene.modules().join("vfio")).unwrap();
        fs::rename(scene.modules().join("other"), scene.modules().join("vfio")).unwrap();
        assert_ne!(pins.place(device), before);
        assert_eq!(pins.remove_stale(), 1);
        assert!(!before.exists() && pins.place(tracepoint).exists() && pins.folder.join(maps::EVENTS).exists());
    }

    #[test]
    fn what_is_left_of_other_versions_goes_and_what_is_not_ours_stays() {
        let scene = Scene::new();
        let pins = scene.take().unwrap();
        for other in ["probe-0123456789abcdef-4096", "cilium"] {
            fs::create_dir(scene.root().join(other)).unwrap();
        }
        pins.remove_others();
        let mut left: Vec<_> = entries(&scene.root());
        left.sort();
        assert_eq!(left, [scene.root().join("cilium"), pins.folder.clone()]);
        Pins::sweep(&scene.root());
        assert!(pins.folder.exists(), "it is owned");
        drop(pins);
        Pins::sweep(&scene.root());
        assert_eq!(entries(&scene.root()), [scene.root().join("cilium")]);
    }

    #[test]
    fn the_version_is_the_hash_of_the_object() {
        assert!(version().len() == 16 && version().bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", version());
    }
}
