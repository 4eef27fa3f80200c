//! A server under measurement: a process that is started fresh, watched from outside, and ended.

use crate::host::Host;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Vfiod { program: PathBuf, flags: Vec<String> },
    Floor { program: PathBuf },
    Shell { command: String },
}

impl Contestant {
    /// vfiod itself. Its kernel probe has a cost of its own, which is measured elsewhere: it is off where there is one.
    ///
    /// # Errors
    /// When it does not run.
    pub fn vfiod(program: PathBuf) -> Result<Self> {
        let help = Command::new(&program).args(["run", "--help"]).output();
        let help = help.with_context(|| format!("cannot run {}", program.display()))?;
        let has_probe = String::from_utf8_lossy(&help.stdout).contains("--probe");
        let flags = if has_probe { vec!["--probe".to_owned(), "off".to_owned()] } else { Vec::new() };
        Ok(Self { name: "vfiod".to_owned(), kind: Kind::Vfiod { program, flags } })
    }

    /// The floor.
    #[must_use]
    pub fn floor(name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), kind: Kind::Floor { program } }
    }

    /// Another plugin, started by a shell command.
    #[must_use]
    pub fn shell(command: String) -> Self {
        let name = command.split_whitespace().find(|word| !word.contains('=')).unwrap_or("other").to_owned();
        let name = Path::new(&name).file_name().map_or(name.clone(), |name| name.to_string_lossy().into_owned());
        Self { name, kind: Kind::Shell { command } }
    }

    /// Starts it on a host for a kubelet. What vfiod keeps from one start to the next is in the kubelet's folder, too.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, host: &Host, kubelet_dir: &Path) -> Result<Server> {
        let mut command = match &self.kind {
            Kind::Vfiod { program, flags } => {
                let mut command = Command::new(program);
                command.args(["run", "--serve=all", "--rescan=1h", "--config"]).arg(host.config());
                command.arg("--host-root").arg(host.root()).arg("--kubelet-dir").arg(kubelet_dir).args(flags);
                command.arg("--state-dir").arg(kubelet_dir.join("vfiod"));
                command
            }
            Kind::Floor { program } => {
                let mut command = Command::new(program);
                command.arg(host.plan_path()).arg(kubelet_dir).arg(host.root());
                command
            }
            Kind::Shell { command: line } => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exec {line}")]);
                command.env("BENCH_KUBELET_DIR", kubelet_dir).env("BENCH_HOST_ROOT", host.root());
                command.env("BENCH_CONFIG", host.config()).env("BENCH_RESOURCE", host.resources.join(","));
                command
            }
        };
        let log = kubelet_dir.join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        Ok(Server { child, log })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

/// What the kernel has counted for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// How often each thread went to sleep by itself, and so was woken.
    wakes: BTreeMap<OsString, u64>,
    /// Processor time in ticks of 10 ms.
    pub ticks: u64,
}

impl Counters {
    /// How often threads were woken since `before`. What a thread that has ended did meanwhile is not known.
    #[must_use]
    pub fn wakes_since(&self, before: &Self) -> u64 {
        let since = |(thread, wakes): (&OsString, &u64)| wakes - before.wakes.get(thread).unwrap_or(&0).min(wakes);
        self.wakes.iter().map(since).sum()
    }
}

/// A thread of a server, and what it has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: OsString,
    /// Its name.
    pub name: String,
    /// Nanoseconds on a processor.
    pub nanos: u64,
    /// How often it went to sleep by itself, and so was woken.
    pub wakes: u64,
}

impl Server {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its threads.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn threads(&self) -> Result<Vec<Thread>> {
        let read = |task: fs::DirEntry| {
            let text = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let nanos = text("schedstat").split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            let wakes = number(&text("status"), "voluntary_ctxt_switches:");
            let name = text("comm").trim().to_owned();
            Thread { id: task.file_name(), name, nanos: nanos.unwrap_or_default(), wakes: wakes.unwrap_or_default() }
        };
        Ok(fs::read_dir(self.proc("task"))?.flatten().map(read).collect())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        number(&status, "VmRSS:").with_context(|| format!("process {} is gone", self.child.id()))
    }

    /// Memory of its own in KiB: without what is read from its program file, and could be read again.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn anonymous(&self) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        number(&status, "RssAnon:").with_context(|| format!("process {} is gone", self.child.id()))
    }

    /// What it has used.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn counters(&self) -> Result<Counters> {
        let mut wakes = BTreeMap::new();
        for task in fs::read_dir(self.proc("task"))?.flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            wakes.insert(task.file_name(), number(&status, "voluntary_ctxt_switches:").unwrap_or_default());
        }
        let stat = fs::read_to_string(self.proc("stat"))?;
        // After the name, which may hold blanks: state, and eleven more before utime and stime.
        let (_, after) = stat.rsplit_once(')').context("a malformed /proc/PID/stat")?;
        let ticks = after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(Counters { wakes, ticks })
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn hang_up(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::HUP)?)
    }

    /// What it said, for the case that something went wrong.
    #[must_use]
    pub fn said(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it was gone already.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server has ended by itself ({status}):\n{}", self.said());
        }
        kill_process(self.pid()?, Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number in the line of `/proc/PID/status` that begins with `name`.
fn number(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
