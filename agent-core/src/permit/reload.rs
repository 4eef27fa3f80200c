//! From a document to a permit: alone at the start, and after a previous one on a reload.

use super::{
    ResourceName,
    assembly::Assembly,
    document,
    entry::{self, Entry, Rejected},
    finding::{Notice, Position, Problem},
    resource::Resource,
    serve::{ServeMode, Serving},
    settings::{self, Settings},
    table::{Idle, Permit},
    yaml,
};
use crate::variables::{Carried, alias_carries};
use std::collections::BTreeSet;

/// A document that was read.
///
/// Pass it through [`at_start`](Self::at_start) or [`Permit::succeeding`] before its permit is put in force.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What is permitted. Bad entries are missing; bad settings have their defaults.
    pub permit: Permit,
    /// What is rejected.
    pub problems: Vec<Problem>,
    /// What is accepted and yet worth saying.
    pub notices: Vec<Notice>,
    /// The resources of USB devices: permitted, and not served.
    pub usb: BTreeSet<ResourceName>,
    /// Whether the document has a list of what is permitted. In a KubeVirt CR without one, KubeVirt forbids nothing
    /// (`pkg/virt-controller/services/resourcerenderer.go`, `validatePermittedHostDevices`).
    pub restricts: bool,
    /// The notices that do not depend on what is kept.
    said: Vec<Notice>,
    good: Vec<Entry>,
    rejected: Vec<Rejected>,
    settings: settings::Read,
    rule: Rule,
}

/// How it is decided what is served.
#[derive(Debug, Clone, Copy)]
struct Rule {
    mode: ServeMode,
    kubevirt: bool,
}

/// The text of a file.
///
/// # Errors
///
/// It is not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).map(String::from_utf8_lossy).unwrap_or_default();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Problem::new(Position { line, column }, "", "the document is not UTF-8 text", "save it as UTF-8")
    })
}

/// Reads a document: the snippet of KubeVirt's user guide, a bare `permittedHostDevices`, a KubeVirt CR (alone, in a list or
/// among other documents), or vfiod's own configuration; YAML or JSON.
///
/// # Errors
///
/// The text is no YAML, or its shape is wrong, so that nothing in it can be relied on. Bad entries are no error: they are
/// among the problems of the result.
pub fn parse(text: &str, mode: ServeMode) -> Result<Parsed, Problem> {
    read(&document::find(&yaml::read(text)?)?, mode)
}

/// Reads an object as the API server has it (JSON). Nobody sees its text, so nothing in the result has a place.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_object(text: &str, mode: ServeMode) -> Result<Parsed, Problem> {
    read(&document::find(&yaml::read_object(text)?)?, mode)
}

/// Settings that stand in a document of their own, beside a KubeVirt CR that permits the devices.
#[derive(Debug, Clone)]
pub struct Beside {
    /// What is rejected.
    pub problems: Vec<Problem>,
    /// What is accepted and yet worth saying.
    pub notices: Vec<Notice>,
    settings: settings::Read,
}

impl Beside {
    /// Reads vfiod's own configuration without permits; an empty document sets nothing. `cr` is how a message calls the
    /// KubeVirt CR.
    ///
    /// # Errors
    ///
    /// The text is no YAML, has the wrong shape, or permits devices as well.
    pub fn parse(text: &str, cr: &str) -> Result<Self, Problem> {
        let document = document::find_settings(&yaml::read(text)?, cr)?;
        let document::Document { settings, problems, notices, .. } = document;
        Ok(Self { problems, notices, settings })
    }

    /// No document at all.
    #[must_use]
    pub fn none() -> Self {
        Self { problems: Vec::new(), notices: Vec::new(), settings: settings::Read::absent() }
    }

    /// The settings, and nothing that is permitted: while nobody knows what the CR says.
    #[must_use]
    pub fn alone(&self) -> Parsed {
        Parsed {
            permit: Permit::default().with_settings(self.settings.or(&Settings::default())),
            problems: Vec::new(),
            notices: Vec::new(),
            usb: BTreeSet::new(),
            restricts: true,
            said: Vec::new(),
            good: Vec::new(),
            rejected: Vec::new(),
            settings: self.settings,
            rule: Rule { mode: ServeMode::Auto, kubevirt: true },
        }
    }

    /// The document as the first one that is put in force.
    ///
    /// # Errors
    ///
    /// A setting is bad: to run with a default instead of what was meant would not be safe. Holds every problem.
    pub fn at_start(self) -> Result<Self, Vec<Problem>> {
        if self.settings.is_good() { Ok(self) } else { Err(self.problems) }
    }
}

fn read(document: &document::Document, mode: ServeMode) -> Result<Parsed, Problem> {
    let restricts = !document.kubevirt || document.permits.as_ref().is_some_and(|permits| !permits.node.is_null());
    let entry::Entries { good, rejected, problems, notices, usb } = entry::read(document)?;
    let mut parsed = Parsed {
        permit: Permit::default(),
        problems: [document.problems.clone(), problems].concat(),
        notices: Vec::new(),
        usb,
        restricts,
        said: [document.notices.clone(), notices].concat(),
        good: Vec::new(),
        rejected,
        settings: document.settings,
        rule: Rule { mode, kubevirt: document.kubevirt },
    };
    let mut assembly = Assembly::default();
    for entry in good {
        match assembly.add(&entry, parsed.rule.decide(&entry)) {
            Ok(notice) => {
                parsed.said.extend(notice);
                parsed.good.push(entry);
            }
            Err(problem) => {
                parsed.problems.push(problem);
                parsed.rejected.push(Rejected::from(entry));
            }
        }
    }
    parsed.put(assembly.finish(), parsed.settings.or(&Settings::default()));
    Ok(parsed)
}

impl Parsed {
    /// The document as the first one that is put in force.
    ///
    /// # Errors
    ///
    /// A setting is bad: to run with a default instead of what was meant would not be safe. Holds every problem of the
    /// document. Bad entries alone are no error: the others are served.
    pub fn at_start(self) -> Result<Self, Vec<Problem>> {
        if self.settings.is_good() { Ok(self) } else { Err(self.problems) }
    }

    /// The same permits with the settings of another document; bad ones have their defaults, or on a reload their previous
    /// values.
    #[must_use]
    pub fn with_settings(mut self, beside: &Beside) -> Self {
        self.settings = beside.settings;
        self.permit = self.permit.with_settings(self.settings.or(&Settings::default()));
        self
    }

    /// Puts resources into the permit, with what is to be said of them as a whole.
    fn put(&mut self, resources: Vec<Resource>, settings: Settings) {
        self.permit = Permit::new(resources, settings);
        self.notices.clone_from(&self.said);
        self.notices.extend(self.permit.resources().iter().flat_map(|resource| idle_aliases(resource)));
        self.notices.extend(self.permit.idle().map(|idle| self.idleness(idle)));
        self.problems.sort_by_key(|problem| problem.at);
        self.notices.sort_by_key(|notice| notice.at);
    }

    fn idleness(&self, idle: Idle) -> Notice {
        if idle.permitted > 0 || self.rejected.is_empty() {
            return idle.finding();
        }
        let what = "every entry is rejected, so vfiod serves nothing";
        Notice::new(Position::START, "permittedHostDevices", what, "correct the entries that are reported as bad")
    }

    /// Adds the good entries, but for those of kept resources; gives back what conflicts.
    fn add_to(&self, assembly: &mut Assembly, kept: &BTreeSet<ResourceName>) -> Vec<(ResourceName, Problem)> {
        let entries = self.good.iter().filter(|entry| !kept.contains(&entry.name));
        entries
            .filter_map(|entry| {
                let serving = self.rule.decide(entry);
                assembly.add(entry, serving).err().map(|problem| (entry.name.clone(), problem))
            })
            .collect()
    }
}

impl Permit {
    /// The document as the next one after `previous`.
    ///
    /// A resource that a bad entry belongs to keeps its previous definition as a whole; where the name itself is bad, that
    /// is the resource which the entry's selector fed before. A bad setting keeps its previous value. Everything else
    /// follows the document; an entry of it that conflicts with a kept definition is rejected.
    #[must_use]
    pub fn succeeding(previous: &Self, mut parsed: Parsed) -> Parsed {
        let is_known = |name: &ResourceName| previous.get(name.as_str()).is_some();
        let mut kept: BTreeSet<_> = parsed.rejected.iter().filter_map(|bad| previous.meant_by(bad)).collect();
        let resources = loop {
            let mut assembly = Assembly::default();
            kept.iter().filter_map(|name| previous.get(name.as_str())).for_each(|resource| assembly.adopt(resource));
            let conflicts = parsed.add_to(&mut assembly, &kept);
            // A resource that loses an entry to a kept definition is kept too, which may cost others theirs. Every round
            // keeps at least one more, and what was good together before is good together now.
            let (more, rest): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|(name, _)| is_known(name));
            if more.is_empty() {
                parsed.problems.extend(rest.into_iter().map(|(_, problem)| problem));
                break assembly.finish();
            }
            for (name, problem) in more {
                parsed.problems.push(problem);
                kept.insert(name);
            }
        };
        parsed.said.extend(kept.iter().filter_map(|name| previous.get(name.as_str())).map(|kept| keeps(kept)));
        parsed.put(resources, parsed.settings.or(previous.settings()));
        parsed
    }

    /// The resource whose definition a bad entry was meant to give.
    fn meant_by(&self, bad: &Rejected) -> Option<ResourceName> {
        let by_name = bad.name.as_ref().and_then(|name| self.get(name.as_str()));
        let by_selector = || self.selected_by(bad.selector.as_ref()?);
        let resource = if bad.name.is_some() { by_name } else { by_selector() };
        resource.map(|resource| resource.name.clone())
    }
}

impl Rule {
    const fn decide(self, entry: &Entry) -> Serving {
        self.mode.decide(self.kubevirt, entry.external)
    }
}

/// Aliases that can never be set, because the resource has no device of the kind that they carry.
fn idle_aliases(resource: &Resource) -> Vec<Notice> {
    let carries = |alias: &str| {
        !resource.pci.is_empty() && alias_carries(alias, Carried::Pci)
            || !resource.mdev.is_empty() && alias_carries(alias, Carried::Mdev)
    };
    let Some(origin) = resource.origins.first() else { return Vec::new() };
    let idle = resource.aliases.iter().filter(|alias| !carries(alias));
    idle.map(|alias| {
        let what = format!("is never set: {} selects no device of the kind that it carries", resource.name);
        let remedy = "names that begin with PCI_RESOURCE carry PCI devices, with MDEV_ mdevs, others both";
        Notice::new(origin.at, format!("{}.envAliases", origin.field), what, remedy).with_value(alias)
    })
    .collect()
}

fn keeps(resource: &Resource) -> Notice {
    let selectors: Vec<_> = resource.origins.iter().map(|origin| origin.selector().to_string()).collect();
    let what = format!("{} keeps its last good definition ({})", resource.name, selectors.join(", "));
    Notice::new(Position::START, "permittedHostDevices", what, "correct the entries that are reported as bad")
}
