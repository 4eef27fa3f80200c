//! Reading the configuration, and putting it into force: at the start, and on every change.

use crate::{
    cluster::{Cache, CrName, Document},
    instance::Keeper,
    io::FileIo,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::{error, info, warn};
use vfiod_core::{
    events::Kind,
    permit::{
        Beside, DOCUMENT_MAX, Finding, Parsed, Permit, Problem, ResourceName, ServeMode, decode, parse, parse_object,
    },
};

/// How the log marks what is told as an Event, too.
const REJECTED: &str = Kind::ConfigurationRejected.reason();

/// Where the configuration comes from, and what is in force of it.
#[derive(Debug)]
pub struct Config {
    /// The file: settings, and what is permitted unless a CR says that.
    file: Option<ConfigFile>,
    cr: Option<Cr>,
    serve: ServeMode,
    io: FileIo,
    permit: Arc<Permit>,
    /// How that stands to what was read last.
    standing: Standing,
    /// Why the file could not be read the last time.
    unreadable: Option<String>,
    /// What is wrong with what was read last, a line each.
    problems: Vec<String>,
}

/// A KubeVirt CR as the source of what is permitted.
#[derive(Debug)]
struct Cr {
    wanted: CrName,
    document: Option<Document>,
    /// Whether this agent has read the document itself.
    read: bool,
    /// The settings.
    beside: Beside,
    cache: Cache,
}

/// A configuration file, as it was read last.
#[derive(Debug)]
struct ConfigFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// A KubeVirt CR as the source.
#[derive(Debug)]
pub struct FromKubeVirt {
    /// Which.
    pub wanted: CrName,
    /// Where its last good state is remembered (`--cache-dir`).
    pub cache_dir: PathBuf,
    /// Says whether this vfiod writes there, or another one that runs beside it.
    pub keeper: Keeper,
}

/// How what is in force stands to what the source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is what the source says.
    #[default]
    Current,
    /// It is what the source says, but for entries that were rejected; how many problems there are.
    Part(usize),
    /// The source cannot be read or is rejected, for this reason: an older state is in force.
    Kept(String),
    /// The CR was not read yet; what it said before this agent started is in force.
    Remembered,
    /// The CR was not read yet, and nobody remembers it: nothing is in force.
    Waiting,
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
    /// Reads the first configuration from a file.
    ///
    /// # Errors
    /// When the file cannot be read, is no such document, or holds a bad setting. Bad entries are no error: they are
    /// logged, and the others are served.
    pub async fn load(path: &Path, serve: ServeMode, io: FileIo) -> Result<Self, ConfigError> {
        let file = ConfigFile::read(path, io).await?;
        let parsed =
            decode(&file.bytes).and_then(|text| parse(text, serve)).map_err(|problem| file.rejected(&[problem]))?;
        let parsed = parsed.at_start().map_err(|problems| file.rejected(&problems))?;
        let permit = Arc::new(Permit::default());
        let standing = Standing::Current;
        let mut config =
            Self { file: Some(file), cr: None, serve, io, permit, standing, unreadable: None, problems: Vec::new() };
        config.enforce(parsed);
        Ok(config)
    }

    /// Reads the settings from `file`, if one is given, and what the CR permitted when it was read last.
    ///
    /// # Errors
    /// When the file cannot be read, holds a bad setting, or permits devices: the CR does.
    pub async fn load_kubevirt(
        file: Option<&Path>,
        kubevirt: FromKubeVirt,
        serve: ServeMode,
        io: FileIo,
    ) -> Result<Self, ConfigError> {
        let FromKubeVirt { wanted, cache_dir, keeper } = kubevirt;
        let (file, beside) = match file {
            None => (None, Beside::none()),
            Some(path) => {
                let file = ConfigFile::read(path, io).await?;
                let beside = file.beside(&wanted).map_err(|problem| file.rejected(&[problem]))?;
                let beside = beside.at_start().map_err(|problems| file.rejected(&problems))?;
                (Some(file), beside)
            }
        };
        let (cache, remembered) = Cache::open(&cache_dir, io, &wanted, keeper).await;
        let permit = Arc::new(beside.alone().permit);
        let cr = Some(Cr { wanted, document: None, read: false, beside, cache });
        let (standing, problems) = (Standing::Current, Vec::new());
        let mut config = Self { file, cr, serve, io, permit, standing, unreadable: None, problems };
        if let Some(document) = remembered {
            info!("{}: its last good state is remembered", document.title());
            config.follow(document, false);
        }
        Ok(config)
    }

    /// What is in force.
    #[must_use]
    pub const fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// Whether it holds a KubeVirt CR, remembered or read.
    #[must_use]
    pub fn has_cr(&self) -> bool {
        self.cr.as_ref().is_some_and(|cr| cr.document.is_some())
    }

    /// The configuration file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// What is wrong with what was read last, a line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether a KubeVirt CR is the source.
    #[must_use]
    pub const fn is_from_cr(&self) -> bool {
        self.cr.is_some()
    }

    /// How what is in force stands to what the source says.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.unreadable, &self.standing, &self.cr) {
            (Some(reason), ..) => Standing::Kept(reason.clone()),
            (None, Standing::Kept(reason), _) => Standing::Kept(reason.clone()),
            (None, _, Some(Cr { document: None, .. })) => Standing::Waiting,
            (None, _, Some(Cr { read: false, .. })) => Standing::Remembered,
            (None, standing, _) => standing.clone(),
        }
    }

    /// Reads the file again; returns the new permit when it means something else than the one in force.
    pub async fn reload(&mut self) -> Option<Arc<Permit>> {
        let file = self.file.as_mut()?;
        let bytes = match self.io.read(&file.path, DOCUMENT_MAX).await {
            Ok(bytes) => bytes,
            Err(reason) => {
                let path = file.path.display();
                error!(config = %path, "cannot read the configuration: {reason}; the last good one stays in force");
                self.unreadable = Some(format!("{path}: cannot be read: {reason}"));
                return None;
            }
        };
        self.unreadable = None;
        if file.bytes == bytes {
            return None;
        }
        file.bytes = bytes;
        self.apply()
    }

    /// Takes what the KubeVirt CR says now; returns the new permit when it means something else than the one in force.
    pub fn take(&mut self, document: Document) -> Option<Arc<Permit>> {
        self.follow(document, true)
    }

    /// From now on this vfiod keeps the state: it remembers what it has read of the CR. Where it has read nothing yet, it
    /// goes on with what the one before it remembered last; returns the new permit when that means something else.
    pub async fn take_over(&mut self) -> Option<Arc<Permit>> {
        let cr = self.cr.as_mut()?;
        let left = cr.cache.take_over(&cr.wanted).await.filter(|_| !cr.read);
        self.follow(left?, false)
    }

    fn follow(&mut self, document: Document, read: bool) -> Option<Arc<Permit>> {
        let (namespace, name) = (document.namespace.clone(), document.name.clone());
        let cr = self.cr.as_mut()?;
        (cr.document, cr.read) = (Some(document), read);
        let permit = self.apply();
        let is_in_force = !matches!(self.standing, Standing::Kept(_));
        if let Some(cr) = self.cr.as_mut().filter(|_| read && is_in_force) {
            // What is in force, not what was written: where an entry went bad, that is its last good definition.
            cr.cache.keep(Document { namespace, name, text: self.permit.to_object() });
        }
        permit
    }

    /// Puts what is written now into force after what is; returns the new permit when it means something else.
    fn apply(&mut self) -> Option<Arc<Permit>> {
        let parsed = match self.read_anew() {
            Ok(parsed) => Permit::succeeding(&self.permit, parsed),
            Err(problem) => {
                error!(event = REJECTED, "{problem}; the last good configuration stays in force");
                self.problems = vec![problem.clone()];
                self.standing = Standing::Kept(problem);
                return None;
            }
        };
        let diff = Permit::diff(&self.permit, &parsed.permit);
        self.enforce(parsed);
        let list = |names: &[ResourceName]| names.iter().map(ResourceName::as_str).collect::<Vec<_>>().join(",");
        info!(
            config = self.name(),
            added = list(&diff.added),
            removed = list(&diff.removed),
            changed = list(&diff.changed),
            settings = diff.settings,
            "configuration reloaded"
        );
        (!diff.is_empty()).then(|| Arc::clone(&self.permit))
    }

    /// The configuration as it is written now, or why it is rejected as a whole.
    fn read_anew(&mut self) -> Result<Parsed, String> {
        match (&mut self.cr, &self.file) {
            (None, None) => Ok(Beside::none().alone()),
            (None, Some(file)) => decode(&file.bytes)
                .and_then(|text| parse(text, self.serve))
                .map_err(|problem| line(&file.path, &problem)),
            (Some(Cr { wanted, document, beside, .. }), file) => {
                if let Some(file) = file {
                    *beside = file.beside(wanted).map_err(|problem| line(&file.path, &problem))?;
                }
                let Some(document) = document else { return Ok(beside.alone()) };
                let parsed = parse_object(&document.text, self.serve);
                Ok(parsed.map_err(|problem| object_line(document, &problem))?.with_settings(beside))
            }
        }
    }

    fn enforce(&mut self, parsed: Parsed) {
        let (problems, notices) = self.findings(&parsed);
        problems.iter().for_each(|problem| error!(event = REJECTED, "{problem}"));
        notices.iter().for_each(|notice| warn!("{notice}"));
        self.standing = match problems.len() {
            0 => Standing::Current,
            problems => Standing::Part(problems),
        };
        self.problems = problems;
        self.permit = Arc::new(parsed.permit);
    }

    /// What is to be said of a document, line by line: problems and notices.
    fn findings(&self, parsed: &Parsed) -> (Vec<String>, Vec<String>) {
        let of_file = |finding: &Finding| self.file.as_ref().map(|file| line(&file.path, finding));
        let Some(Cr { document, beside, .. }) = &self.cr else {
            let lines = |findings: &[Finding]| findings.iter().filter_map(of_file).collect();
            return (lines(&parsed.problems), lines(&parsed.notices));
        };
        let of_cr = |finding: &Finding| document.as_ref().map(|document| object_line(document, finding));
        let lines = |file: &[Finding], cr: &[Finding]| {
            file.iter().filter_map(of_file).chain(cr.iter().filter_map(of_cr)).collect()
        };
        (lines(&beside.problems, &parsed.problems), lines(&beside.notices, &parsed.notices))
    }

    /// How messages call the source.
    #[must_use]
    pub fn name(&self) -> String {
        match (&self.cr, &self.file) {
            (Some(Cr { document: Some(document), .. }), _) => document.title(),
            (_, Some(file)) => file.path.display().to_string(),
            (Some(cr), None) => cr.wanted.to_string(),
            (None, None) => String::new(),
        }
    }
}

impl ConfigFile {
    async fn read(path: &Path, io: FileIo) -> Result<Self, ConfigError> {
        let unreadable =
            |error: std::io::Error| ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() };
        let bytes = io.read(path, DOCUMENT_MAX).await.map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// Its settings, where the CR `wanted` permits the devices.
    fn beside(&self, wanted: &CrName) -> Result<Beside, Problem> {
        decode(&self.bytes).and_then(|text| Beside::parse(text, &format!("{wanted} (--kubevirt)")))
    }

    fn rejected(&self, problems: &[Problem]) -> ConfigError {
        ConfigError::Rejected { lines: problems.iter().map(|problem| line(&self.path, problem)).collect() }
    }
}

fn line(path: &Path, finding: &Finding) -> String {
    format!("{}:{finding}", path.display())
}

/// What is said of an object has no line.
fn object_line(document: &Document, finding: &Finding) -> String {
    format!("{}: {}", document.title(), finding.message())
}
