//! Reading the configuration, and putting it into force: at the start, and on every change.

use crate::io::FileIo;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::{error, info, warn};
use vfiod_core::permit::{DOCUMENT_MAX, Finding, Parsed, Permit, Problem, ResourceName, ServeMode, decode, parse};

/// The configuration file and what is in force of it.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    serve: ServeMode,
    io: FileIo,
    bytes: Vec<u8>,
    permit: Arc<Permit>,
    standing: Standing,
    /// Why the file could not be read the last time.
    unreadable: Option<String>,
}

/// How what is in force stands to what the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is what the file says.
    #[default]
    Current,
    /// It is what the file says, but for entries that were rejected; how many problems there are.
    Part(usize),
    /// The file cannot be read or is rejected, for this reason: an older state is in force.
    Kept(String),
}

/// Why there is nothing to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}; name a readable file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its content is rejected; one line a problem.
    #[error("{}", lines.join("\n"))]
    Rejected {
        /// The problems, each with file, line and column.
        lines: Vec<String>,
    },
}

impl Config {
    /// Reads the first configuration.
    ///
    /// # Errors
    /// When the file cannot be read, is no such document, or holds a bad setting. Bad entries are no error: they are
    /// logged, and the others are served.
    pub async fn load(path: &Path, serve: ServeMode, io: FileIo) -> Result<Self, ConfigError> {
        let mut config = Self {
            path: path.to_owned(),
            serve,
            io,
            bytes: Vec::new(),
            permit: Arc::default(),
            standing: Standing::Current,
            unreadable: None,
        };
        let bytes = config.read().await.map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        let rejected = |problems: &[Problem]| ConfigError::Rejected {
            lines: problems.iter().map(|problem| line(path, problem)).collect(),
        };
        let parsed = decode(&bytes).and_then(|text| parse(text, serve)).map_err(|problem| rejected(&[problem]))?;
        let parsed = parsed.at_start().map_err(|problems| rejected(&problems))?;
        config.enforce(bytes, parsed);
        Ok(config)
    }

    /// What is in force.
    #[must_use]
    pub const fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How that stands to what the file says.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.unreadable.clone().map_or_else(|| self.standing.clone(), Standing::Kept)
    }

    /// Reads the file again; returns the new permit when it means something else than the one in force.
    pub async fn reload(&mut self) -> Option<Arc<Permit>> {
        let bytes = match self.read().await {
            Ok(bytes) => bytes,
            Err(reason) => {
                error!(config = %self.path.display(), "cannot read the configuration: {reason}; the last good one stays in force");
                self.unreadable = Some(format!("{}: cannot be read: {reason}", self.path.display()));
                return None;
            }
        };
        self.unreadable = None;
        if bytes == self.bytes {
            return None;
        }
        let parsed = match decode(&bytes).and_then(|text| parse(text, self.serve)) {
            Ok(parsed) => Permit::succeeding(&self.permit, parsed),
            Err(problem) => {
                error!("{}; the last good configuration stays in force", line(&self.path, &problem));
                self.standing = Standing::Kept(line(&self.path, &problem));
                self.bytes = bytes;
                return None;
            }
        };
        let diff = Permit::diff(&self.permit, &parsed.permit);
        self.enforce(bytes, parsed);
        let list = |names: &[ResourceName]| names.iter().map(ResourceName::as_str).collect::<Vec<_>>().join(",");
        info!(
            config = %self.path.display(),
            added = list(&diff.added),
            removed = list(&diff.removed),
            changed = list(&diff.changed),
            settings = diff.settings,
            "configuration reloaded"
        );
        (!diff.is_empty()).then(|| Arc::clone(&self.permit))
    }

    fn enforce(&mut self, bytes: Vec<u8>, parsed: Parsed) {
        for problem in &parsed.problems {
            error!("{}", line(&self.path, problem));
        }
        for notice in &parsed.notices {
            warn!("{}", line(&self.path, notice));
        }
        self.standing = match parsed.problems.len() {
            0 => Standing::Current,
            problems => Standing::Part(problems),
        };
        self.bytes = bytes;
        self.permit = Arc::new(parsed.permit);
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        self.io.read(&self.path, DOCUMENT_MAX).await.map_err(|error| error.to_string())
    }
}

fn line(path: &Path, finding: &Finding) -> String {
    format!("{}:{finding}", path.display())
}
