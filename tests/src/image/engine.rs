//! A containerd of our own: its folders, its socket and its end are ours.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long containerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the checks do not need, and what would touch the machine's own setting.
const DISABLED: [&str; 6] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.snapshotter.v1.zfs",
];

/// A running containerd. Ended when dropped.
#[derive(Debug)]
pub(super) struct Engine {
    daemon: Child,
    folder: TempDir,
}

impl Engine {
    /// Starts it and waits until it answers.
    pub(super) fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {DISABLED:?}\n[grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("containerd.sock"),
            at("containerd.sock.ttrpc")
        );
        fs::write(folder.path().join("config.toml"), config)?;
        let log = File::create(folder.path().join("log"))?;
        let daemon = Command::new("containerd")
            .arg("--config")
            .arg(folder.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let mut engine = Self { daemon, folder };
        let begun = Instant::now();
        while engine.ctr(["version"]).is_err() {
            if engine.daemon.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("containerd does not answer:\n{}", engine.log());
            }
            sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    /// A folder for the checks' own files.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs `ctr` to its end and returns what it printed.
    pub(super) fn ctr<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket()).args(arguments).stdin(Stdio::null());
        let output = command.output().context("cannot run ctr")?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its containers are ended first: they would outlive it.
        if let Ok(tasks) = self.ctr(["task", "list", "--quiet"]) {
            for task in tasks.lines() {
                drop(self.ctr(["task", "rm", "--force", task]));
            }
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
