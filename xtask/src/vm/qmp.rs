//! QEMU's machine protocol: one JSON object a line (`docs/interop/qmp-spec.txt` of QEMU).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection to QEMU's monitor.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// A connection through `stream`; [`Self::greet`] must come first.
    pub fn new(stream: UnixStream) -> Result<Self> {
        // Long enough for a loaded machine, short enough to end within the session's own limit.
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Reads QEMU's greeting and leaves the negotiation mode, in which no other command works.
    pub fn greet(&mut self) -> Result<()> {
        self.message()?.get("QMP").context("QEMU's monitor did not greet")?;
        self.execute(&json!({"execute": "qmp_capabilities"})).map(drop)
    }

    /// Runs `command` and returns what it returns.
    pub fn execute(&mut self, command: &Value) -> Result<Value> {
        let mut line = command.to_string();
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).context("QEMU's monitor is closed")?;
        loop {
            // Events come in between; the guest sees their effect in sysfs.
            let mut message = self.message()?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                bail!("QEMU refuses {line}: {}", error["desc"].as_str().unwrap_or("it says not why"));
            }
        }
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).context("QEMU's monitor does not answer")? {
            0 => bail!("QEMU's monitor is closed"),
            _ => serde_json::from_str(&line).with_context(|| format!("QEMU's monitor speaks no JSON: {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(lines: &'static str) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        // Kept open for as long as the test reads.
        std::thread::spawn(move || {
            let mut rest = String::new();
            drop(BufReader::new(theirs).read_line(&mut rest));
        });
        Qmp::new(ours).unwrap()
    }

    #[test]
    fn events_between_a_command_and_its_answer_are_passed_over() {
        let mut qmp = answering("{\"event\": \"DEVICE_DELETED\"}\n{\"return\": {\"running\": true}}\n");
        assert_eq!(qmp.execute(&json!({"execute": "query-status"})).unwrap(), json!({"running": true}));
    }

    #[test]
    fn a_refusal_says_why() {
        let mut qmp = answering("{\"error\": {\"class\": \"GenericError\", \"desc\": \"Bus 'x' not found\"}}\n");
        let error = qmp.execute(&json!({"execute": "device_add"})).unwrap_err().to_string();
        assert!(error.contains("device_add") && error.contains("Bus 'x' not found"), "{error}");
    }
}
