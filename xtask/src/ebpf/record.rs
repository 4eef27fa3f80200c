//! What made the object, and of which sources: a file beside it.

use super::{Architecture, folder, toolchain::Toolchain};
use crate::{process, workspace};
use anyhow::{Context, Result};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the object depends on, relative to the repository.
const SOURCES: [&str; 5] =
    ["agent-abi/Cargo.toml", "agent-abi/src", "agent-ebpf/Cargo.lock", "agent-ebpf/Cargo.toml", "agent-ebpf/src"];

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// SHA-256 of the object.
    pub object: String,
    /// SHA-256 of its sources' names and contents.
    pub sources: String,
    /// What made it.
    pub toolchain: String,
}

impl Record {
    /// The record of an object that was built now.
    pub fn of(object: &[u8], toolchain: &Toolchain) -> Result<Self> {
        Ok(Self { object: hash(object)?, sources: sources()?, toolchain: toolchain.to_string() })
    }

    /// The one in the repository.
    pub fn read(architecture: Architecture) -> Result<Self> {
        let path = path(architecture);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}; run `cargo xtask ebpf`", path.display()))?;
        Ok(parse(&text))
    }

    /// Writes it into the repository.
    pub fn write(&self, architecture: Architecture) -> Result<()> {
        let path = path(architecture);
        fs::write(&path, self.text(architecture)).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self, architecture: Architecture) -> String {
        format!(
            "# What made {architecture}.o; written by `cargo xtask ebpf`.\nobject: sha256 {}\nsources: sha256 {}\ntoolchain: {}\n",
            self.object, self.sources, self.toolchain
        )
    }
}

fn path(architecture: Architecture) -> PathBuf {
    folder().join(format!("{architecture}.record"))
}

fn parse(text: &str) -> Record {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        line.strip_prefix("sha256 ").unwrap_or(line).to_owned()
    };
    Record { object: field("object:"), sources: field("sources:"), toolchain: field("toolchain:") }
}

/// The hash of the sources as they are now.
pub fn sources() -> Result<String> {
    let root = workspace::root();
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let content = fs::read(root.join(&file)).with_context(|| format!("cannot read {}", file.display()))?;
        all.extend(format!("{} {}\n", file.display(), content.len()).into_bytes());
        all.extend(content);
    }
    hash(&all)
}

fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !root.join(path).is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root.join(path)).with_context(|| format!("cannot read {}", path.display()))? {
        collect(root, &path.join(entry?.file_name()), files)?;
    }
    Ok(())
}

/// SHA-256 in hexadecimal.
pub fn hash(bytes: &[u8]) -> Result<String> {
    let mut command = Command::new("sha256sum");
    let shown = process::shown(&command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| shown.clone())?;
    let mut input = child.stdin.take().context("sha256sum has no stdin")?;
    input.write_all(bytes).with_context(|| shown.clone())?;
    drop(input);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().context("sha256sum says nothing")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            object: hash(b"").unwrap(),
            sources: "12ab".into(),
            toolchain: "rustc 1.96.0 (ac68faa20 2026-05-25), LLVM 22.1.8, bpf-linker 0.13.0".into(),
        };
        assert_eq!(record.object, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(parse(&record.text(Architecture::ALL[0])), record);
        assert_eq!(parse("nonsense"), Record::default());
    }

    #[test]
    fn every_source_counts() {
        assert_eq!(sources().unwrap().len(), 64);
    }
}
