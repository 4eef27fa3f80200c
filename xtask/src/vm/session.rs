//! Following a guest: its lines are checks, its requests go to QEMU, its silence ends.
//!
//! On the second serial port the guest writes
//! `now  SENTENCE` when a check begins and `ok   SENTENCE`, `FAIL SENTENCE: WHY` or `skip SENTENCE: WHY` when it ends,
//! `show TEXT` to have a line printed, `qmp JSON` to have QEMU do something (answered by one line: `done` or
//! `error: WHY`), and `verdict ok=N failed=N skipped=N` at the end.
//! `tests/src/vm/report.rs` and `tests/src/vm/port.rs` are the other end.

use super::machine::Guest;
use anyhow::{Context, Result};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Lines of the console that are shown when a guest ends without a verdict.
const TAIL: usize = 40;

/// How long a guest may say nothing. The longest that one check waits for one thing is 90 seconds.
const SILENCE: Duration = Duration::from_secs(300);

/// What the checks came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checks that passed.
    pub ok: usize,
    /// Checks that failed.
    pub failed: usize,
    /// Checks that could not be made, each with its line.
    pub skipped: Vec<String>,
    /// Why there is no verdict to trust, where there is none.
    pub broken: Option<String>,
    /// The check that has begun last.
    pub now: String,
}

impl Report {
    /// Whether the guest came to its end and nothing failed there.
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.ok > 0 && self.broken.is_none()
    }

    fn counts(&self) -> String {
        format!("ok={} failed={} skipped={}", self.ok, self.failed, self.skipped.len())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.passed() { "pass" } else { "fail" }, self.counts())
    }
}

/// Follows `guest` to its verdict, for at most `patience` and not through [`SILENCE`], and stops it.
pub fn follow(mut guest: Guest, patience: Duration, console: &Path) -> Result<Report> {
    let output = guest.output.take().context("the guest's second serial port is taken")?;
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + patience;
    let mut report = Report::default();
    report.broken = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.min(SILENCE)) {
            Ok(line) => match take(&mut report, &line) {
                Next::Line => {}
                Next::Ask(command) => answer(&mut guest, command)?,
                Next::End(broken) => break broken,
            },
            Err(RecvTimeoutError::Timeout) if left > SILENCE => {
                break Some(format!("the guest hangs: it has said nothing for {SILENCE:?}"));
            }
            Err(RecvTimeoutError::Timeout) => break Some(format!("the guest hangs: no verdict in {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => break Some("the guest stopped without a verdict".into()),
        }
    };
    drop(guest);
    drop(lines);
    drop(reader.join());
    if let Some(why) = &report.broken {
        let during = if report.now.is_empty() { "before its first check" } else { &report.now };
        println!("FAIL the guest comes to a verdict: {why} ({during})");
        eprintln!("vm: the end of {}:\n{}", console.display(), tail(console));
    }
    Ok(report)
}

enum Next<'a> {
    Line,
    Ask(&'a str),
    End(Option<String>),
}

fn take<'a>(report: &mut Report, line: &'a str) -> Next<'a> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "ok" => report.ok += 1,
        "FAIL" => report.failed += 1,
        "skip" => report.skipped.push(rest.to_owned()),
        "show" => {
            println!("{rest}");
            return Next::Line;
        }
        "qmp" => return Next::Ask(rest),
        "now" => {
            report.now = format!("during: {}", rest.trim_start());
            return Next::Line;
        }
        "verdict" => {
            let counted = report.counts();
            return Next::End((rest != counted).then(|| format!("it says {rest}, and its lines were {counted}")));
        }
        _ => {
            eprintln!("vm: {line}");
            return Next::Line;
        }
    }
    println!("{line}");
    Next::Line
}

fn answer(guest: &mut Guest, command: &str) -> Result<()> {
    let done = serde_json::from_str(command).context("not JSON").and_then(|command| guest.monitor.execute(&command));
    let line = match done {
        Ok(_) => "done\n".to_owned(),
        Err(error) => format!("error: {}\n", format!("{error:#}").replace('\n', " ")),
    };
    guest.input.write_all(line.as_bytes()).context("the guest does not listen")
}

fn tail(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines.get(from..).unwrap_or_default().iter().map(|line| format!("  | {}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Report {
        let mut report = Report { broken: Some("no verdict".into()), ..Report::default() };
        for line in lines {
            if let Next::End(broken) = take(&mut report, line) {
                report.broken = broken;
            }
        }
        report
    }

    #[test]
    fn a_guest_passes_when_nothing_failed_and_its_count_is_ours() {
        let report = of(&["ok   a device opens", "skip mdev: no mtty", "verdict ok=1 failed=0 skipped=1"]);
        assert!(report.passed());
        assert_eq!(report.to_string(), "pass ok=1 failed=0 skipped=1");
        assert_eq!(report.skipped, ["mdev: no mtty"]);
    }

    #[test]
    fn a_failure_a_lost_line_and_a_missing_verdict_all_fail() {
        assert!(!of(&["ok   a", "FAIL b: no", "verdict ok=1 failed=1 skipped=0"]).passed());
        assert!(!of(&["ok   a", "verdict ok=2 failed=0 skipped=0"]).passed());
        assert!(!of(&["ok   a"]).passed());
        assert!(!of(&["verdict ok=0 failed=0 skipped=0"]).passed(), "a guest that checks nothing");
    }

    #[test]
    fn requests_are_for_qemu() {
        let mut report = Report::default();
        assert!(matches!(take(&mut report, "qmp {\"execute\":\"stop\"}"), Next::Ask("{\"execute\":\"stop\"}")));
    }
}
