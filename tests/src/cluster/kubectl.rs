//! kubectl, as the administrator.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// kubectl for this cluster.
#[derive(Debug, Clone)]
pub(super) struct Kubectl {
    access: PathBuf,
}

impl Kubectl {
    pub(super) fn new(access: PathBuf) -> Self {
        Self { access }
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", &self.access).stdin(Stdio::null());
        command
    }

    /// What it prints.
    pub(super) fn text(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("cannot run kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(super) fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.text(&[words, &["--output=json"]].concat())?;
        serde_json::from_str(&text).context("kubectl wrote something that is no JSON")
    }

    /// Applies a file.
    pub(super) fn apply(&self, file: &Path) -> Result<()> {
        self.text(&["apply", "--filename", &file.display().to_string()]).map(drop)
    }
}
