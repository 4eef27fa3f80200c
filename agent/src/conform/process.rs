//! The plugin under check as a process.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long to look away between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How many lines of its output are told when it ends by itself.
const LAST_LINES: usize = 10;

/// How to start the plugin.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// For `sh -c`; `{dir}`, `{kubelet-dir}` and `{socket}` are filled in.
    pub(super) command: String,
    /// The plugin folder.
    pub(super) folder: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
}

/// The plugin and whatever it started: a process group of its own. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    exited: Option<ExitStatus>,
}

impl Launch {
    /// Starts the plugin.
    pub(super) fn start(&self) -> io::Result<Process> {
        let kubelet_dir = self.folder.parent().unwrap_or(&self.folder);
        let socket = self.folder.join(vfiod_proto::KUBELET_SOCKET);
        let filled = [("{dir}", self.folder.as_path()), ("{kubelet-dir}", kubelet_dir), ("{socket}", &socket)]
            .into_iter()
            .fold(self.command.clone(), |command, (place, path)| command.replace(place, &path.to_string_lossy()));
        // Anew each time: what a process before this one has said is of no use. Appended to, for it may have children.
        _ = fs::remove_file(&self.log);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new("/bin/sh")
            .args(["-c", &filled])
            .env("DEVICE_PLUGIN_DIR", &self.folder)
            .env("KUBELET_SOCKET", &socket)
            .env("VFIOD_KUBELET_DIR", kubelet_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        Ok(Process { child, group, exited: None })
    }

    /// The last lines that the plugin has written.
    pub(super) fn last_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Process {
    /// How it ended, if it has.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().ok().flatten();
        }
        self.exited
    }

    /// Asks it to end, as the container runtime does (SIGTERM).
    pub(super) fn terminate(&self) {
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Waits until it and all that it started have ended. False when they do not.
    pub(super) async fn ends(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.exited().is_none() || lives(self.group) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(PAUSE).await;
        }
        true
    }

    /// Ends it at once, and waits for that.
    pub(super) async fn kill(mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        self.ends(Duration::from_secs(5)).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited.is_none() || lives(self.group) {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Whether a process of the group still runs. Zombies do not: their parent may never ask for them.
fn lives(group: Pid) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let number = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        number && of_group(&entry.path().join("stat"), group)
    })
}

/// Reads `/proc/<pid>/stat` (kernel: `fs/proc/array.c`, `do_task_stat`): pid, (command), state, parent, group.
fn of_group(stat: &Path, group: Pid) -> bool {
    let Ok(text) = fs::read_to_string(stat) else { return false };
    let Some((_, after_command)) = text.rsplit_once(')') else { return false };
    let mut fields = after_command.split_whitespace();
    let state = fields.next().unwrap_or_default();
    let of = fields.nth(1).and_then(|field| field.parse::<i32>().ok());
    of == Some(group.as_raw_nonzero().get()) && !matches!(state, "Z" | "X")
}
