//! What is told in the end: as text, JSON or JUnit XML.

mod json;
mod junit;
mod text;

use super::{book::Outcome, check::Check, subject::Subject};
use std::time::Duration;

/// All that was found.
#[derive(Debug)]
pub struct Report {
    /// The socket, or the command.
    pub target: String,
    /// The resources that were checked.
    pub resources: Vec<ResourceSeen>,
    /// A verdict for every check, in the order of the table.
    pub verdicts: Vec<(&'static Check, Outcome)>,
    /// How long it took.
    pub took: Duration,
}

/// A resource as it was listed.
#[derive(Debug)]
pub struct ResourceSeen {
    /// Its name; empty when nobody told it.
    pub name: String,
    /// How many devices were listed.
    pub devices: usize,
    /// How many of them were healthy.
    pub healthy: usize,
}

/// How many checks ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The convention is kept.
    pub passed: usize,
    /// It is not.
    pub failed: usize,
    /// Nothing was there to see it by.
    pub not_checked: usize,
    /// Not wanted.
    pub skipped: usize,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line a check, for people.
    #[default]
    Text,
    /// One object; see docs/CONFORMANCE.md
    Json,
    /// A test suite as CI systems read it
    Junit,
}

impl ResourceSeen {
    pub(super) fn of(subject: &Subject) -> Self {
        let seen = subject.stream.seen();
        Self { name: subject.name().to_owned(), devices: seen.devices.len(), healthy: seen.healthy().len() }
    }
}

impl Report {
    /// How many checks ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, outcome) in &self.verdicts {
            *match outcome {
                Outcome::Passed => &mut counts.passed,
                Outcome::Failed(_) => &mut counts.failed,
                Outcome::NotChecked(_) => &mut counts.not_checked,
                Outcome::Skipped => &mut counts.skipped,
            } += 1;
        }
        counts
    }

    /// The report as `format` says.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn render(&self, format: Format) -> Result<String, serde_json::Error> {
        match format {
            Format::Text => Ok(text::render(self)),
            Format::Json => json::render(self),
            Format::Junit => Ok(junit::render(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::{
        book::Book,
        check::all,
        checks::list::{FIRST, NUMA, SIZE},
    };

    fn report() -> Report {
        let mut book = Book::new(&[&SIZE]);
        book.pass(&FIRST);
        book.fail(&NUMA, "a.com/b", "<0000:3b:00.0> & \"others\"\nnode -1");
        let resources = vec![ResourceSeen { name: "a.com/b".to_owned(), devices: 2, healthy: 1 }];
        Report { target: "plugin --x".to_owned(), resources, verdicts: book.close(), took: Duration::from_millis(1500) }
    }

    #[test]
    fn every_check_is_counted_once() {
        let Counts { passed, failed, not_checked, skipped } = report().counts();
        assert_eq!((passed, failed, skipped), (1, 1, 1));
        assert_eq!(passed + failed + not_checked + skipped, all().count());
    }

    #[test]
    fn the_text_names_fault_consequence_and_source_of_what_failed_alone() {
        let text = report().render(Format::Text).unwrap();
        for part in [NUMA.consequence, NUMA.source, "node -1", "a.com/b: 2 devices, 1 healthy", "FAILED"] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains(FIRST.consequence), "{text}");
    }

    #[test]
    fn the_json_has_an_object_for_each_check() {
        let value: serde_json::Value = serde_json::from_str(&report().render(Format::Json).unwrap()).unwrap();
        assert_eq!(value["checks"].as_array().unwrap().len(), all().count());
        let numa = value["checks"].as_array().unwrap().iter().find(|check| check["check"] == "list.numa").unwrap();
        assert_eq!(numa["outcome"], "failed");
        assert_eq!(numa["findings"][0]["resource"], "a.com/b");
        assert_eq!(value["summary"]["failed"], 1);
    }

    #[test]
    fn the_xml_escapes_what_a_plugin_says() {
        let xml = report().render(Format::Junit).unwrap();
        assert!(xml.contains("&lt;0000:3b:00.0&gt; &amp; &quot;others&quot;"), "{xml}");
        assert!(xml.contains("failures=\"1\""), "{xml}");
        assert_eq!(xml.matches("<testcase ").count(), all().count());
    }
}
