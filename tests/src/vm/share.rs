//! Devices that are open in every way there is, by the C program `tests/vm/vfio-share.c`.

use super::opener::CONTAINER;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program, with one device open.
pub struct Share {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Share {
    /// Starts it: container, group and device are open when this returns.
    pub fn open(node: &Path, device: &str) -> Result<Self> {
        let mut command = Command::new("vfio-share");
        command.arg(CONTAINER).arg(node).arg(device);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run vfio-share")?;
        let output = BufReader::new(child.stdout.take().context("vfio-share has no stdout")?);
        let input = child.stdin.take();
        let mut share = Self { child, input, output };
        share.answer("to open")?;
        Ok(share)
    }

    /// Has it do something, and returns the number that it answers.
    pub fn tell(&mut self, what: &str) -> Result<u32> {
        let input = self.input.as_mut().context("vfio-share has ended")?;
        writeln!(input, "{what}").context("vfio-share does not listen")?;
        self.answer(what)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn answer(&mut self, what: &str) -> Result<u32> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim().strip_prefix("done ") {
            Some(number) => number.parse().with_context(|| format!("vfio-share says {line:?}")),
            None => bail!("vfio-share fails {what}; its complaint is on the console"),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}
