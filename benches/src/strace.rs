//! System calls of a server, counted by strace.

use crate::server::Server;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// strace, attached to all threads of a server.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    folder: tempfile::TempDir,
}

impl Strace {
    /// Attaches; `None` where there is no strace.
    ///
    /// # Errors
    /// When it may not attach.
    pub fn attach(server: &Server) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(folder.path().join("counts")).arg("-p").arg(server.id().to_string());
        let mut child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot run strace"),
        };
        let mut said = BufReader::new(child.stderr.take().context("strace says nothing")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        anyhow::ensure!(line.contains("attached"), "strace: {}", line.trim());
        // What else it says is of no use, but it must have somewhere to say it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Some(Self { child, folder }))
    }

    /// Detaches; how often each call was made.
    ///
    /// # Errors
    /// When strace tells nothing.
    pub fn counts(mut self) -> Result<BTreeMap<String, u64>> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(id, Signal::INT)?;
        self.child.wait()?;
        let text = fs::read_to_string(self.folder.path().join("counts")).context("strace counted nothing")?;
        Ok(read(&text))
    }
}

/// Reads `strace -c`: share, seconds, microseconds a call, calls, perhaps errors, name.
fn read(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, calls, name) = (words.first()?.parse::<f64>().ok()?, words.get(3)?.parse().ok()?, words.last()?);
        (*name != "total").then(|| ((*name).to_owned(), calls))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 71.43    0.000500           5       100           writev
 28.57    0.000200           2        90        10 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000700           3       190        10 total
";
        let counts = BTreeMap::from([("writev".to_owned(), 100), ("recvfrom".to_owned(), 90)]);
        assert_eq!(read(text), counts);
    }
}
