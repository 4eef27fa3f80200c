//! Opens and closes from many processes at once, by the C program `tests/vm/vfio-storm.c`.

use super::opener::CONTAINER;
use super::pci::Pci;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};

/// What is contended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prize {
    /// A device, which any number of processes can have open through one group.
    Device,
    /// A group, which one process at a time can have open.
    Group,
}

/// The program. Everything is closed when the value is dropped.
pub struct Storm {
    child: Child,
    input: Option<ChildStdin>,
    line: Receiver<String>,
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// How often the object is open.
    pub kept: u32,
    /// How many opens were refused.
    pub refused: u32,
}

impl Storm {
    /// Has `processes` open and close it `times`, together.
    pub fn raise(prize: Prize, device: &Pci, processes: u32, times: u32) -> Result<Self> {
        let node = device.node()?;
        let mut command = Command::new("vfio-storm");
        let numbers = [processes.to_string(), times.to_string()];
        match prize {
            Prize::Device => command.arg("device").args(numbers).arg(CONTAINER).arg(node).arg(device.bdf()),
            Prize::Group => command.arg("group").args(numbers).arg(node),
        };
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run vfio-storm")?;
        let mut output = BufReader::new(child.stdout.take().context("vfio-storm has no stdout")?);
        let input = child.stdin.take();
        let (send, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            drop(output.read_line(&mut text));
            drop(send.send(text));
        });
        Ok(Self { child, input, line })
    }

    /// What it came to, once it is over; what it keeps open it keeps.
    pub fn over(&self) -> Result<Option<Aftermath>> {
        match self.line.try_recv() {
            Ok(line) => parse(&line).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => anyhow::bail!("vfio-storm was asked once too often"),
        }
    }

    /// Waits until it is over.
    pub fn wait(&self) -> Result<Aftermath> {
        parse(&self.line.recv().context("vfio-storm was asked once too often")?)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}

fn parse(line: &str) -> Result<Aftermath> {
    let mut words = line.split_whitespace();
    let done = words.next() == Some("done");
    let mut number = || words.next().filter(|_| done)?.parse().ok();
    let (kept, refused) = (number(), number());
    let aftermath = kept.zip(refused).map(|(kept, refused)| Aftermath { kept, refused });
    aftermath.with_context(|| format!("vfio-storm says `{}`; its complaint is on the console", line.trim()))
}
