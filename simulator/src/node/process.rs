//! Processes: what `/proc` shows of one, and its open files.
//!
//! A process opens the node's own device files, so whoever watches them with inotify hears of it; that it has them open is
//! written into `proc/PID/fd` before, and taken out of there before it closes them, as the kernel does.

use super::{Node, NodeError};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Pids that no process of the machine has by chance: above its own `pid_max` of 4 million.
static NEXT_PID: AtomicU32 = AtomicU32::new(5_000_000);

/// A process to be started.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    command: String,
    cgroup: String,
}

/// A running process. It ends, and closes all it has open, when it is dropped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    root: PathBuf,
    files: Vec<(u32, String, fs::File)>,
    opened: u32,
}

impl ProcessSpec {
    /// A process of the host, outside all pods.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self { command: command.to_owned(), cgroup: "/system.slice/test.service".to_owned() }
    }

    /// In a container of a pod, as the systemd driver of the kubelet and containerd name its cgroup.
    #[must_use]
    pub fn in_pod(mut self, uid: &str, container: &str) -> Self {
        let uid = uid.replace('-', "_");
        self.cgroup = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{container}.scope"
        );
        self
    }
}

impl Node {
    /// Starts a process.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn start_process(&self, spec: &ProcessSpec) -> Result<Process, NodeError> {
        let pid = NEXT_PID.fetch_add(1, Ordering::Relaxed);
        let folder = self.path(&format!("proc/{pid}"));
        let ProcessSpec { command, cgroup } = spec;
        let started = u64::from(pid) % 100_000;
        let zeros = "0 ".repeat(18);
        let make = || {
            fs::create_dir_all(folder.join("fd"))?;
            fs::create_dir(folder.join("fdinfo"))?;
            fs::write(folder.join("comm"), format!("{command}\n"))?;
            fs::write(folder.join("cgroup"), format!("0::{cgroup}\n"))?;
            fs::write(folder.join("stat"), format!("{pid} ({command}) S {zeros}{started} 0 0\n"))
        };
        make().map_err(NodeError::io("start a process at", &folder))?;
        Ok(Process { pid, root: self.root().to_owned(), files: Vec::new(), opened: 0 })
    }
}

impl Process {
    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens a device file, such as `/dev/vfio/12`.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn open(&mut self, path: &str) -> Result<(), NodeError> {
        let number = self.opened + 3;
        let link = self.descriptor(number);
        let there = self.root.join(path.trim_start_matches('/'));
        let file = fs::symlink_metadata(&there)
            .and_then(|_| symlink(path, &link))
            .and_then(|()| fs::File::options().read(true).write(true).open(&there))
            .map_err(NodeError::io("open", &there))?;
        self.opened += 1;
        self.files.push((number, path.to_owned(), file));
        Ok(())
    }

    /// Closes what it opened under this path.
    pub fn close(&mut self, path: &str) {
        for (number, ..) in self.files.iter().filter(|(_, open, _)| open == path) {
            let _ = fs::remove_file(self.descriptor(*number));
        }
        self.files.retain(|(_, open, _)| open != path);
    }

    fn descriptor(&self, number: u32) -> PathBuf {
        self.folder().join("fd").join(number.to_string())
    }

    fn folder(&self) -> PathBuf {
        self.root.join("proc").join(self.pid.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = remove(&self.folder());
    }
}

/// Removes the folder of a process; the node may be gone already.
fn remove(folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(folder)
}
