//! The serial port to `cargo xtask vm`, which prints what it hears and has QEMU do what it is asked
//! (`xtask/src/vm/session.rs` is the other end).

use super::node::EVENTUALLY;
use super::wait;
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

/// The port.
pub struct Port {
    reader: BufReader<File>,
}

impl Port {
    /// Opens the serial port, which init has made raw.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { reader: BufReader::new(file) })
    }

    /// Writes `text` as one line.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let line = format!("{}\n", text.trim_end().replace('\n', " | "));
        self.reader.get_mut().write_all(line.as_bytes()).context("the host does not listen")
    }

    /// What is written there the host prints as it is, line by line.
    pub fn shown(&self) -> Result<Shown> {
        let port = self.reader.get_ref().try_clone().context("the port cannot be shared")?;
        Ok(Shown { port, line: b"show ".to_vec() })
    }

    /// Has QEMU add an `edu` device named `id` to the root port `bus`.
    pub fn plug(&mut self, id: &str, bus: &str) -> Result<()> {
        let arguments = serde_json::json!({"driver": "edu", "id": id, "bus": bus});
        // The kernel forgets a device that was unplugged before it switches the slot off, and only then QEMU forgets it, too: until
        // that it takes no other one of its name.
        wait::until(EVENTUALLY, || self.ask("device_add", &arguments))
    }

    /// Has QEMU ask the guest to let go of the device `id`, as a person does who presses the slot's button.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.ask("device_del", &serde_json::json!({ "id": id }))
    }

    fn ask(&mut self, command: &str, arguments: &serde_json::Value) -> Result<()> {
        self.say(&format!("qmp {}", serde_json::json!({"execute": command, "arguments": arguments})))?;
        let mut answer = String::new();
        self.reader.read_line(&mut answer).context("the host does not answer")?;
        match answer.trim_end() {
            "done" => Ok(()),
            other => bail!("the host cannot do {command}: {other}"),
        }
    }
}

/// See [`Port::shown`].
pub struct Shown {
    port: File,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                self.port.write_all(&std::mem::replace(&mut self.line, b"show ".to_vec()))?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
