//! Opening devices through the VFIO ioctls, by the C program `tests/vm/vfio-open.c`.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the program says and how it ends.
#[derive(Debug)]
pub struct Opened {
    /// Its lines: `group PATH viable`, `device NAME regions=… irqs=…`, `region NAME INDEX size=…`, `config NAME V:D`.
    pub said: String,
    /// Its complaint, where it failed.
    pub complaint: String,
    /// Its exit code; see the program's head.
    pub code: Option<i32>,
}

/// The container device, which every VFIO user opens first.
pub const CONTAINER: &str = "/dev/vfio/vfio";

/// A group's device file and the devices to open in it.
pub type Group = (PathBuf, Vec<String>);

/// The group whose device file is `node`, with the devices of these names.
pub fn group(node: &Path, devices: &[&str]) -> Group {
    (node.to_path_buf(), devices.iter().map(|name| (*name).to_owned()).collect())
}

/// Opens `groups` in one container and closes them.
pub fn open(groups: &[Group]) -> Result<Opened> {
    let output = command(&[], groups).output().context("cannot run vfio-open")?;
    Ok(Opened {
        said: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        code: output.status.code(),
    })
}

impl Opened {
    /// Fails unless every call went through and every line in `expected` was said.
    pub fn expect(&self, expected: &[String]) -> Result<()> {
        if self.code != Some(0) {
            bail!("vfio-open ends with {:?}: {}", self.code, self.complaint);
        }
        match expected.iter().find(|line| !self.said.lines().any(|said| said.starts_with(line.as_str()))) {
            Some(line) => bail!("vfio-open does not say `{line}`, it says: {}", self.said.trim()),
            None => Ok(()),
        }
    }
}

/// Devices that are open, until the value is dropped.
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Opens `groups` in one container and holds them.
    pub fn open(groups: &[Group]) -> Result<Self> {
        let mut command = command(&["--hold"], groups);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run vfio-open")?;
        let output = child.stdout.take().context("vfio-open has no stdout")?;
        for line in BufReader::new(output).lines() {
            if line? == "holding" {
                return Ok(Self { child });
            }
        }
        let mut complaint = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut complaint)?;
        }
        bail!("vfio-open ends with {}: {}", child.wait()?, complaint.trim())
    }

    /// The process that holds them.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its stdin ends with the handle; waiting makes sure that the kernel has seen everything closed.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn command(options: &[&str], groups: &[Group]) -> Command {
    let mut command = Command::new("vfio-open");
    command.args(options).arg(CONTAINER);
    for (path, devices) in groups {
        command.arg("--group").arg(path).args(devices);
    }
    command
}
