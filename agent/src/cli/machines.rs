//! Reading the documents of virtual machines, and telling what is wrong with them.

use super::Failure;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};
use vfiod_core::{
    hostdev::{Machine, Machines, machines},
    permit::{DOCUMENT_MAX, Finding, decode},
};

/// Exit code when a virtual machine would not start.
pub(super) const WOULD_NOT_START: u8 = 4;

/// A text and the name by which it is called.
pub(super) struct Document {
    pub(super) name: String,
    bytes: Vec<u8>,
}

impl Document {
    /// Reads a file, or stdin for `-`; a little more than is accepted at most, so that an endless file ends.
    ///
    /// # Errors
    /// When it cannot be read; `flag` is the way to name another.
    pub(super) fn read(path: &Path, flag: &str) -> Result<Self, Failure> {
        let limit = DOCUMENT_MAX as u64 + 1;
        let stdin = path.as_os_str() == "-";
        let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        let mut bytes = Vec::new();
        let read = if stdin {
            io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        match read {
            Ok(_) => Ok(Self { name, bytes }),
            Err(error) => Err(Failure::Error(format!("{name}: cannot be read: {error}; {flag}"))),
        }
    }

    /// Its text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        decode(&self.bytes).map_err(|problem| Failure::Config(format!("{}:{problem}", self.name)))
    }

    /// Its text, whatever it is.
    pub(super) fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The virtual machines in it.
    ///
    /// # Errors
    /// When there are none, or it is no YAML.
    pub(super) fn machines(&self) -> Result<Machines, Failure> {
        machines(self.text()?).map_err(|problem| Failure::Config(format!("{}:{problem}", self.name)))
    }

    /// Tells what is wrong, and what is worth saying, on stderr.
    pub(super) fn tell(&self, problems: &[Finding], notices: &[Finding]) {
        let mut err = io::stderr().lock();
        for problem in problems {
            _ = writeln!(err, "{}:{problem}", self.name);
        }
        for notice in notices {
            _ = writeln!(err, "{}:{}: notice: {}", self.name, notice.at, notice.message());
        }
    }
}

/// The machine of this name, or all where none is given.
///
/// # Errors
/// When none has the name.
pub(super) fn chosen(all: Vec<Machine>, name: Option<&str>, document: &Document) -> Result<Vec<Machine>, Failure> {
    let Some(name) = name else { return Ok(all) };
    let is_meant = |machine: &Machine| match (name.split_once('/'), machine.name.as_deref()) {
        (Some((namespace, name)), Some(has)) => name == has && machine.namespace.as_deref() == Some(namespace),
        (None, Some(has)) => name == has,
        (_, None) => false,
    };
    let known: Vec<String> = all.iter().map(ToString::to_string).collect();
    let found: Vec<Machine> = all.into_iter().filter(is_meant).collect();
    if found.is_empty() {
        let known = known.join(", ");
        return Err(Failure::Config(format!("{}: has no machine {name:?}; it has {known}", document.name)));
    }
    Ok(found)
}

/// A finding, as `-o json` writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingEntry {
    line: usize,
    column: usize,
    path: String,
    value: Option<String>,
    message: String,
    next_step: String,
}

impl From<&Finding> for FindingEntry {
    fn from(finding: &Finding) -> Self {
        let Finding { at, field, value, what, remedy } = finding;
        Self {
            line: at.line,
            column: at.column,
            path: field.clone(),
            value: value.clone(),
            message: what.clone(),
            next_step: remedy.clone(),
        }
    }
}

/// Findings, as `-o json` writes them.
pub(super) fn entries(findings: &[Finding]) -> Vec<FindingEntry> {
    findings.iter().map(FindingEntry::from).collect()
}

/// Writes data to stdout. A reader that went away (`| head`) is no failure.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Error(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
