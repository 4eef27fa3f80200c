//! Which pod and container a process is of.

use crate::{
    discovery::HostRoot,
    probe::{Census, CensusTaker, Process as Seen},
};
use dashmap::DashMap;
use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};
use vfiod_core::holding::{Place, Process};

/// A clock tick of `/proc/PID/stat`: starts are compared to that.
const TICK: Duration = Duration::from_millis(10);

/// How deep a container's cgroup lies at most; the deepest in use is a kubelet in a container in a container.
const DEPTH: usize = 16;

/// The root of the unified hierarchy, which names nobody.
const ROOT_CGROUP: u64 = 1;

/// Processes that hold something, with what their cgroups say of them.
///
/// Written by whichever thread takes a census, read by the reactor and by those who ask.
#[derive(Debug)]
pub struct Book {
    root: HostRoot,
    processes: DashMap<Key, Arc<Process>>,
    cgroups: DashMap<u64, Place>,
}

/// A pid alone is used again; with the tick in which it started it is not.
type Key = (u32, u128);

/// A census whose processes are known.
#[derive(Debug)]
pub struct Taken {
    /// What is open.
    pub census: Census,
    /// The process of each opening, in the same order.
    pub processes: Vec<Arc<Process>>,
}

impl Book {
    /// An empty book about the host below `root`.
    #[must_use]
    pub fn new(root: HostRoot) -> Self {
        Self { root, processes: DashMap::new(), cgroups: DashMap::new() }
    }

    /// Takes a census and finds out about every process in it. Blocks.
    ///
    /// # Errors
    /// When the census cannot be taken at all.
    pub fn take(&self, taker: &CensusTaker) -> io::Result<Taken> {
        let census = taker.take()?;
        let processes: Vec<Arc<Process>> =
            census.openings.iter().map(|opening| self.identify(&opening.process)).collect();
        let living: HashSet<Key> = census.openings.iter().filter_map(|opening| key(&opening.process)).collect();
        self.processes.retain(|key, _| living.contains(key));
        Ok(Taken { census, processes })
    }

    /// A process, as far as it is known without looking: without its place, if nobody has looked yet.
    #[must_use]
    pub fn recall(&self, seen: &Seen) -> Arc<Process> {
        let known = key(seen).and_then(|key| self.processes.get(&key).map(|process| Arc::clone(&process)));
        known.unwrap_or_else(|| Arc::new(process(seen, None)))
    }

    /// A process with its place. Reads `/proc` or the cgroups where nobody has looked yet.
    fn identify(&self, seen: &Seen) -> Arc<Process> {
        let Some(key) = key(seen) else { return Arc::new(process(seen, self.place(seen))) };
        if let Some(known) = self.processes.get(&key)
            && known.place.is_some()
            && *known.command == *seen.command
        {
            return Arc::clone(&known);
        }
        let found = Arc::new(process(seen, self.place(seen)));
        self.processes.insert(key, Arc::clone(&found));
        found
    }

    /// The place of a process: as its own `/proc` says, else as the folder of its cgroup is called.
    fn place(&self, seen: &Seen) -> Option<Place> {
        let folder = self.root.proc().join(seen.pid.to_string());
        // In another pid namespace the pid is somebody else's here.
        if started(&folder).zip(seen.start_ns).is_some_and(|(here, ns)| here == ticks(Duration::from_nanos(ns)))
            && let Ok(text) = fs::read_to_string(folder.join("cgroup"))
        {
            return Some(Place::of_proc(&text));
        }
        if seen.cgroup_id <= ROOT_CGROUP {
            return None;
        }
        if let Some(known) = self.cgroups.get(&seen.cgroup_id) {
            return Some(known.clone());
        }
        let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let place = mounts.iter().find_map(|mount| find(&self.root.at(mount), "", seen.cgroup_id, DEPTH))?;
        self.cgroups.insert(seen.cgroup_id, place.clone());
        Some(place)
    }
}

fn process(seen: &Seen, place: Option<Place>) -> Process {
    let started = seen.start_ns.map(Duration::from_nanos);
    Process { pid: seen.pid, started, command: seen.command.as_str().into(), place }
}

fn key(seen: &Seen) -> Option<Key> {
    seen.start_ns.map(|ns| (seen.pid, ticks(Duration::from_nanos(ns))))
}

const fn ticks(since_boot: Duration) -> u128 {
    since_boot.as_nanos() / TICK.as_nanos()
}

/// The tick in which a process started (`/proc/PID/stat`, field 22; kernel: `fs/proc/array.c`, `do_task_stat`).
fn started(folder: &Path) -> Option<u128> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// The cgroup of this id: the inode number of its folder (kernel: `include/linux/cgroup.h`, `cgroup_id`).
fn find(folder: &Path, path: &str, id: u64, depth: usize) -> Option<Place> {
    if depth == 0 {
        return None;
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).find_map(|entry| {
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.metadata().is_ok_and(|meta| meta.ino() == id) {
            return Some(Place::of(&path));
        }
        find(&entry.path(), &path, id, depth - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const UID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    const CONTAINER: &str = "4f1a0c8d2b3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

    fn seen(pid: u32, tick: u64, cgroup_id: u64) -> Seen {
        Seen { pid, start_ns: Some(tick * 10_000_000 + 1234), command: "qemu-kvm".into(), cgroup_id }
    }

    /// A `/proc` with one process, started in tick 500.
    fn host() -> (TempDir, Book) {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("proc/7");
        fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(folder.join("stat"), format!("7 (a) b) S {zeros}500 0 0\n")).unwrap();
        fs::write(folder.join("cgroup"), format!("0::/kubepods/pod{UID}/{CONTAINER}\n")).unwrap();
        let book = Book::new(HostRoot::new(root.path()));
        (root, book)
    }

    fn pod(process: &Process) -> Option<&str> {
        process.place.as_ref()?.pod.as_deref()
    }

    #[test]
    fn a_process_is_placed_by_its_own_proc() {
        let (_root, book) = host();
        assert_eq!(pod(&book.identify(&seen(7, 500, 0))), Some(UID));
        assert_eq!(pod(&book.recall(&seen(7, 500, 0))), Some(UID), "without looking again");
    }

    #[test]
    fn another_process_under_the_same_pid_is_not_mistaken_for_it() {
        let (_root, book) = host();
        book.identify(&seen(7, 500, 0));
        assert_eq!(book.identify(&seen(7, 501, 0)).place, None);
        assert_eq!(book.recall(&seen(7, 502, 0)).place, None);
    }

    #[test]
    fn a_process_that_is_gone_is_placed_by_its_cgroup() {
        let (root, book) = host();
        let folder = root.path().join(format!(
            "sys/fs/cgroup/kubepods.slice/kubepods-pod{}.slice/crio-{CONTAINER}.scope",
            UID.replace('-', "_")
        ));
        fs::create_dir_all(&folder).unwrap();
        let id = fs::metadata(&folder).unwrap().ino();
        let found = book.identify(&seen(9, 1, id));
        assert_eq!(pod(&found), Some(UID));
        assert_eq!(found.place.as_ref().unwrap().container.as_deref(), Some(CONTAINER));
        fs::remove_dir(&folder).unwrap();
        assert_eq!(pod(&book.identify(&seen(10, 1, id))), Some(UID), "remembered");
        assert_eq!(book.identify(&seen(11, 1, id + 1_000_000)).place, None);
    }
}
