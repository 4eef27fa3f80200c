//! Reading the configuration, and putting it into force: at the start, and on every change.

use crate::reactor::FileIo;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::{error, info, warn};
use vfiod_core::permit::{Parsed, Permit, Problem, ServeMode, parse};

/// The largest configuration that is read, in bytes; a ConfigMap holds at most 1 MiB.
const LIMIT: usize = 4 * 1024 * 1024;

/// The configuration file and what is in force of it.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    serve: ServeMode,
    io: FileIo,
    text: String,
    permit: Arc<Permit>,
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
        let mut config =
            Self { path: path.to_owned(), serve, io, text: String::new(), permit: Arc::new(Permit::default()) };
        let text = config.read().await.map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        let rejected = |problems: &[Problem]| ConfigError::Rejected {
            lines: problems.iter().map(|problem| line(path, problem)).collect(),
        };
        let parsed = parse(&text, serve).map_err(|problem| rejected(&[problem]))?;
        let parsed = parsed.at_start().map_err(|problems| rejected(&problems))?;
        config.enforce(text, parsed);
        Ok(config)
    }

    /// What is in force.
    #[must_use]
    pub const fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// Reads the file again; returns the new permit when it means something else than the one in force.
    pub async fn reload(&mut self) -> Option<Arc<Permit>> {
        let text = match self.read().await {
            Ok(text) => text,
            Err(reason) => {
                error!(config = %self.path.display(), "cannot read the configuration: {reason}; the last good one stays in force");
                return None;
            }
        };
        if text == self.text {
            return None;
        }
        let parsed = match parse(&text, self.serve) {
            Ok(parsed) => Permit::succeeding(&self.permit, parsed),
            Err(problem) => {
                error!("{}; the last good configuration stays in force", line(&self.path, &problem));
                self.text = text;
                return None;
            }
        };
        let diff = Permit::diff(&self.permit, &parsed.permit);
        self.enforce(text, parsed);
        let list = |names: &[vfiod_core::permit::ResourceName]| {
            names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",")
        };
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

    fn enforce(&mut self, text: String, parsed: Parsed) {
        for problem in &parsed.problems {
            error!("{}", line(&self.path, problem));
        }
        for notice in &parsed.notices {
            warn!("{}", line(&self.path, notice));
        }
        self.text = text;
        self.permit = Arc::new(parsed.permit);
    }

    async fn read(&self) -> Result<String, String> {
        let bytes = self.io.read(&self.path, LIMIT).await.map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))
    }
}

fn line(path: &Path, finding: &impl std::fmt::Display) -> String {
    format!("{}:{finding}", path.display())
}
