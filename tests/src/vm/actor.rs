//! A process that opens, passes on and closes VFIO files as it is told: the C program `tests/vm/vfio-actor.c`.

use super::opener::CONTAINER;
use super::wait;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long a process may take to start or to end.
const PROCESS: Duration = Duration::from_secs(30);

/// The process. It ends when the value is dropped.
pub struct Actor {
    child: Child,
    /// None where it was let go of.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pid: u32,
    place: Place,
}

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the checks.
    Here,
    /// In a pid, a mount and a network namespace of its own.
    Apart,
}

impl Actor {
    /// One that has nothing open.
    pub fn start(place: Place) -> Result<Self> {
        Self::under(&[], place)
    }

    /// One that has nothing open, started by the command `under`, which becomes it.
    pub fn under(under: &[&str], place: Place) -> Result<Self> {
        let apart: &[&str] = &["/bin/unshare", "--pid", "--mount", "--net", "--fork", "--kill-child"];
        let mut words = match place {
            Place::Here => under.to_vec(),
            Place::Apart => [under, apart].concat(),
        };
        words.push("vfio-actor");
        let (program, arguments) = words.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run vfio-actor")?;
        let output = BufReader::new(child.stdout.take().context("it has no stdout")?);
        let pid = match place {
            Place::Here => child.id(),
            Place::Apart => wait::until(PROCESS, || only_child(child.id()))?,
        };
        let input = child.stdin.take();
        Ok(Self { child, input, output, pid, place })
    }

    /// One that has the group of `node` open, and `devices` of it.
    pub fn holding(place: Place, node: &Path, devices: &[&str]) -> Result<Self> {
        let mut actor = Self::start(place)?;
        actor.open(node, devices)?;
        Ok(actor)
    }

    /// Opens the container, the group of `node`, and `devices` of it.
    pub fn open(&mut self, node: &Path, devices: &[&str]) -> Result<()> {
        self.tell(&format!("container {CONTAINER}"))?;
        self.tell(&format!("group {}", node.display()))?;
        devices.iter().try_for_each(|device| self.tell(&format!("device {device}")).map(drop))
    }

    /// Closes what is open of these kinds, in their order: `device`, `group`, `container`.
    pub fn close(&mut self, kinds: &[&str]) -> Result<()> {
        kinds.iter().try_for_each(|kind| self.tell(&format!("close {kind}")).map(drop))
    }

    /// Has it do `line` and returns its answer, if that is more than that it is done.
    pub fn tell(&mut self, line: &str) -> Result<Option<u32>> {
        self.ask(line)?;
        self.answer(line)
    }

    /// Has it do `line`, without waiting for that.
    pub fn ask(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("nobody can speak to this process any more")?;
        writeln!(input, "{line}").with_context(|| format!("vfio-actor does not hear `{line}`"))
    }

    /// Waits for its answer to `line`.
    pub fn answer(&mut self, line: &str) -> Result<Option<u32>> {
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        match answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), "")) {
            ("ok", "") => Ok(None),
            ("ok", number) => Ok(Some(number.parse().with_context(|| format!("it answers `{answer}`"))?)),
            _ => bail!("`{line}`: vfio-actor says `{}`", answer.trim_end()),
        }
    }

    /// Its process id, as the checks see it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the pids that it tells are those that the checks see.
    pub fn is_here(&self) -> bool {
        self.place == Place::Here
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        kill(self.pid)?;
        self.child.wait().map(drop).context("waiting for vfio-actor")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Its stdin ends with the handle; waiting makes sure that the kernel has seen everything closed.
        drop(self.input.take());
        drop(self.child.wait());
    }
}

/// Kills a process that is nobody's child, such as one that an actor has forked, and waits until it is gone.
pub fn kill(pid: u32) -> Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(process, Signal::KILL).with_context(|| format!("process {pid} cannot be killed"))?;
    wait::until(PROCESS, || {
        // A child of this process stays as a zombie, which has nothing open.
        let zombie = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        ensure!(zombie || test_kill_process(process).is_err(), "process {pid} is there");
        Ok(())
    })
}

fn only_child(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.trim().parse().with_context(|| format!("process {pid} should have a child and has `{}`", text.trim()))
}
