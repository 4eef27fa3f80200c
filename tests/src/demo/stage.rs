//! What the scenes act on: the node, the kubelet, the agent.

use super::{
    Options,
    figures::{Sample, time},
    host::{self, Counts, SEED},
    page::Page,
};
use crate::agent::{Agent, binary};
use anyhow::{Context, Result, bail};
use rustix::fs::{Access, AtFlags, CWD, Timespec, Timestamps, access, statvfs, utimensat};
use std::{
    fs,
    future::pending,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;
use tokio::time::sleep;
use vfiod_simulator::{
    kubelet::{Kubelet, Listing, State},
    node::Node,
};

/// How long anything may take that should happen; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the agent is looked at while the kubelet is waited for.
const PULSE: Duration = Duration::from_millis(50);
/// Far more than the largest node takes in memory.
const NODE_BYTES: u64 = 1 << 29;
/// The name of the configuration file, as it appears in commands.
pub const PERMIT: &str = "permit.yaml";

/// The stage. Dropping it ends the agent and the kubelet and removes the node; the order of the fields is the order of that.
pub struct Stage {
    agent: Option<Agent>,
    kubelet: Option<Kubelet>,
    node: Option<Node>,
    folder: TempDir,
    /// Where the story is told.
    pub page: Page,
    /// How big everything is.
    pub options: Options,
    /// How many devices of each kind there are.
    pub counts: Counts,
    /// What was measured, for the end.
    pub summary: Vec<Row>,
    /// What the last agent logged that was ended on purpose.
    last_log: String,
}

/// A folder in memory, as sysfs is: it spares a disk a hundred thousand small files. `TMPDIR` is stronger.
fn room_in_memory() -> Option<&'static Path> {
    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))?;
    (std::env::var_os("TMPDIR").is_none() && free >= NODE_BYTES && access(memory, Access::WRITE_OK).is_ok())
        .then_some(memory)
}

/// A line of the summary: what was measured, the time or the median of several, the worst of several.
pub type Row = [String; 3];

impl Stage {
    /// An empty stage with the seed's configuration.
    pub fn open(page: Page, options: Options) -> Result<Self> {
        let counts = Counts::of(options.pci, options.mdevs)?;
        let mut folder = tempfile::Builder::new();
        folder.prefix("vfiod-demo-");
        let folder = match room_in_memory() {
            Some(memory) => folder.tempdir_in(memory),
            None => folder.tempdir(),
        };
        let folder = folder.context("cannot make a temporary folder")?;
        fs::write(folder.path().join(PERMIT), SEED).context("cannot write the configuration")?;
        Ok(Self {
            agent: None,
            kubelet: None,
            node: None,
            folder,
            page,
            options,
            counts,
            summary: Vec::new(),
            last_log: String::new(),
        })
    }

    fn permit(&self) -> PathBuf {
        self.folder.path().join(PERMIT)
    }

    /// Lays out the node; returns how long that took.
    pub fn build_node(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.node =
            Some(host::build(self.counts, &self.folder.path().join("host")).context("the node cannot be built")?);
        Ok(begun.elapsed())
    }

    /// The node.
    pub fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("there is no node yet")
    }

    /// The kubelet.
    pub fn kubelet(&self) -> Result<&Kubelet> {
        self.kubelet.as_ref().context("there is no kubelet yet")
    }

    /// The agent's process id.
    pub fn agent_pid(&self) -> Result<u32> {
        self.agent.as_ref().map(Agent::pid).context("vfiod does not run")
    }

    /// What the agent has logged.
    pub fn log(&self) -> String {
        self.agent.as_ref().map_or_else(|| self.last_log.clone(), Agent::log)
    }

    /// Starts the kubelet and dates its socket back by `age`: vfiod takes the age of the socket for the kubelet's.
    pub async fn start_kubelet(&mut self, age: Duration) -> Result<()> {
        let kubelet =
            Kubelet::builder(self.folder.path().join("kubelet")).host_root(self.node()?.root()).start().await?;
        let then = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.saturating_sub(age);
        let then = Timespec { tv_sec: then.as_secs().try_into()?, tv_nsec: 0 };
        let socket = kubelet.plugin_dir().join(vfiod_proto::KUBELET_SOCKET);
        let times = Timestamps { last_access: then, last_modification: then };
        utimensat(CWD, &socket, &times, AtFlags::empty()).context("cannot date the kubelet's socket back")?;
        self.kubelet = Some(kubelet);
        Ok(())
    }

    /// Starts the agent; returns when.
    pub fn start_agent(&mut self) -> Result<Instant> {
        let (node, folder) = (self.node()?, self.folder.path());
        let builder = Agent::builder(node.root(), &folder.join("kubelet"), "").config_at(&self.permit());
        let begun = Instant::now();
        let agent = builder.log_level("info").start()?;
        self.agent = Some(agent);
        Ok(begun)
    }

    /// Ends the agent with SIGTERM; returns how long that took.
    pub fn end_agent(&mut self) -> Result<Duration> {
        let mut agent = self.agent.take().context("vfiod does not run")?;
        let begun = Instant::now();
        let status = agent.terminate()?;
        let took = begun.elapsed();
        self.last_log = agent.log();
        if !status.success() {
            bail!("vfiod ended with {status}");
        }
        Ok(took)
    }

    /// Puts another configuration in place, as an editor does: written beside and renamed.
    pub fn configure(&self, text: &str) -> Result<Instant> {
        let beside = self.folder.path().join("permit.yaml.new");
        fs::write(&beside, text).context("cannot write the configuration")?;
        let begun = Instant::now();
        fs::rename(&beside, self.permit()).context("cannot put the configuration in place")?;
        Ok(begun)
    }

    /// Runs a subcommand of vfiod in the folder of the configuration; returns its stdout.
    pub fn vfiod(&self, arguments: &[&str]) -> Result<String> {
        let shown = arguments.join(" ");
        let output = Command::new(binary())
            .current_dir(self.folder.path())
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run `vfiod {shown}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`vfiod {shown}` failed ({}): {}", output.status, said.trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until the kubelet's state is as told, as long as the agent runs that shall bring that about.
    pub async fn wait_for(&mut self, what: &str, condition: impl FnMut(&State) -> bool) -> Result<()> {
        let kubelet = self.kubelet.as_ref().context("there is no kubelet yet")?;
        tokio::select! {
            biased;
            reached = kubelet.wait_for(what, PATIENCE, condition) => Ok(reached?),
            ended = ended(&mut self.agent) => match ended {
                Ok(()) => bail!("vfiod has ended; still not: {what}"),
                Err(error) => Err(error),
            },
        }
    }

    /// When the kubelet received the first message of `resource` that `wanted` describes, among those after the first
    /// `skip`. Waits for it.
    pub async fn received(
        &mut self,
        what: &str,
        resource: &str,
        skip: usize,
        wanted: impl Fn(&Listing) -> bool,
    ) -> Result<Listing> {
        let mut found = None;
        self.wait_for(what, |state| {
            found = state.listings(resource).iter().skip(skip).find(|listing| wanted(listing)).cloned();
            found.is_some()
        })
        .await?;
        found.context("a message was there and is gone")
    }

    /// Adds what was measured once to the summary.
    pub fn note(&mut self, what: impl Into<String>, took: Duration) {
        self.summary.push([what.into(), time(took), String::new()]);
    }

    /// Adds what was measured several times.
    pub fn note_sample(&mut self, what: &str, sample: &Sample) {
        let what = format!("{what} ({} times)", sample.len());
        self.summary.push([what, time(sample.median()), time(sample.worst())]);
    }
}

/// Comes when the agent has ended of its own accord.
async fn ended(agent: &mut Option<Agent>) -> Result<()> {
    let Some(agent) = agent else { return pending().await };
    while agent.is_running()? {
        sleep(PULSE).await;
    }
    Ok(())
}
