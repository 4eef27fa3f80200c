//! The agent under test: the real binary, as a process of its own.

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything that should happen may take; far longer than it does.
pub const PATIENCE: Duration = Duration::from_secs(60);

const STATUS_SOCKET: &str = "status.sock";

/// A running `vfiod run`. Killed when dropped; its log is printed when the test fails.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    folder: TempDir,
    status_socket: PathBuf,
}

/// How to start it.
#[derive(Debug, Clone)]
pub struct AgentBuilder {
    host_root: PathBuf,
    kubelet_dir: PathBuf,
    config: Option<String>,
    config_path: Option<PathBuf>,
    flags: Vec<String>,
    under: Vec<String>,
    log_level: String,
    state_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    status_socket: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

/// The binary to test: `$VFIOD_BIN`, or the one built beside the tests.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("VFIOD_BIN") {
        return path.into();
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|exe| exe.ancestors().find(|path| path.join("vfiod").is_file()).map(|path| path.join("vfiod")));
    #[allow(clippy::expect_used, reason = "a test without its subject cannot go on")]
    beside.expect("no vfiod binary: run `cargo build --package vfiod` first, or set VFIOD_BIN")
}

impl Agent {
    /// An agent for the node at `host_root` and the kubelet at `kubelet_dir`, with this configuration.
    #[must_use]
    pub fn builder(host_root: &Path, kubelet_dir: &Path, config: &str) -> AgentBuilder {
        AgentBuilder {
            host_root: host_root.to_owned(),
            kubelet_dir: kubelet_dir.to_owned(),
            config: Some(config.to_owned()),
            config_path: None,
            flags: Vec::new(),
            under: Vec::new(),
            log_level: "vfiod=debug,info".to_owned(),
            state_dir: None,
            cache_dir: None,
            status_socket: None,
            variables: Vec::new(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The configuration file that was made for it.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Its status socket.
    #[must_use]
    pub fn status_socket(&self) -> PathBuf {
        self.status_socket.clone()
    }

    /// Writes its configuration anew.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, config: &str) -> anyhow::Result<()> {
        fs::write(self.config_path(), config).context("writing the configuration")
    }

    /// Everything it has written to its standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn wait_for_log(&self, text: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.log().contains(text) {
            ensure!(begun.elapsed() < PATIENCE, "{text:?} did not appear in the log:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).context("signalling vfiod")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                bail!("vfiod did not end:\n{}", self.log());
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Ends it with SIGTERM and waits.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// When its state cannot be asked for.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of vfiod ---\n{}", self.log());
        }
    }
}

impl AgentBuilder {
    /// Adds a flag and its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Has this command start it, which must become it (`exec`), as `setpriv` does.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Logs as much as this says; much, unless said.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Keeps its state in a folder of the test's own, which outlives it.
    #[must_use]
    pub fn state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// Remembers the KubeVirt CR in a folder of the test's own, which outlives it.
    #[must_use]
    pub fn cache_dir(mut self, path: &Path) -> Self {
        self.cache_dir = Some(path.to_owned());
        self
    }

    /// Names no configuration file.
    #[must_use]
    pub fn without_config(mut self) -> Self {
        self.config = None;
        self
    }

    /// Answers on a status socket of the test's own, for which several agents may compete.
    #[must_use]
    pub fn status_socket(mut self, path: &Path) -> Self {
        self.status_socket = Some(path.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Reads the configuration from a file of the test's own.
    #[must_use]
    pub fn config_at(mut self, path: &Path) -> Self {
        self.config_path = Some(path.to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(self) -> anyhow::Result<Agent> {
        let folder = TempDir::new()?;
        let config = match (self.config_path, &self.config) {
            (Some(path), _) => Some(path),
            (None, None) => None,
            (None, Some(config)) => {
                let path = folder.path().join("config.yaml");
                fs::write(&path, config)?;
                Some(path)
            }
        };
        let status_socket = self.status_socket.unwrap_or_else(|| folder.path().join(STATUS_SOCKET));
        let log = File::create(folder.path().join("log"))?;
        let stdout = File::create(folder.path().join("stdout"))?;
        let mut command = match self.under.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        // The usual address is one for the whole machine.
        if !self.flags.iter().any(|flag| flag == "--listen") {
            command.args(["run", "--listen", "off"]);
        } else {
            command.arg("run");
        }
        let child = command
            .args(config.iter().flat_map(|path| [Path::new("--config"), path]))
            .arg("--host-root")
            .arg(&self.host_root)
            .arg("--kubelet-dir")
            .arg(&self.kubelet_dir)
            .args(["--log-level", &self.log_level])
            .arg("--status-socket")
            .arg(&status_socket)
            .arg("--state-dir")
            .arg(self.state_dir.unwrap_or_else(|| folder.path().join("state")))
            .arg("--cache-dir")
            .arg(self.cache_dir.unwrap_or_else(|| folder.path().join("cache")))
            .args(&self.flags)
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .spawn()
            .context("starting vfiod")?;
        Ok(Agent { child, folder, status_socket })
    }
}
