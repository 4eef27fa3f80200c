//! Which sources an image is made of, as git tells.

use crate::{process, workspace};
use anyhow::Result;
use std::process::Command;

/// The commit, unless something was changed since.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The commit's hash.
    pub(super) revision: Option<String>,
    /// When it was made, RFC 3339.
    pub(super) created: Option<String>,
}

impl Origin {
    /// That of the workspace; nothing where the sources are in no repository, or differ from its newest commit.
    pub(super) fn of_workspace() -> Result<Self> {
        let git = |args: &[&str]| {
            process::text(Command::new("git").args(args).env("TZ", "UTC").current_dir(workspace::root()))
        };
        let Ok(changed) = git(&["status", "--porcelain", "--untracked-files=no"]) else { return Ok(Self::default()) };
        if !changed.trim().is_empty() {
            return Ok(Self::default());
        }
        let newest = git(&["log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"])?;
        Ok(Self::parse(&newest))
    }

    fn parse(line: &str) -> Self {
        match line.trim().split_once(' ') {
            Some((revision, created)) => {
                Self { revision: Some(revision.to_owned()), created: Some(created.to_owned()) }
            }
            None => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_and_time_are_parted() {
        let origin = Origin::parse("0123abc 2026-08-01T10:00:00Z\n");
        assert_eq!(origin.revision.as_deref(), Some("0123abc"));
        assert_eq!(origin.created.as_deref(), Some("2026-08-01T10:00:00Z"));
        assert_eq!(Origin::parse(""), Origin::default());
    }
}
