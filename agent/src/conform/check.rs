//! What a check is: a row of the table that `--list-checks`, the reports and docs/CONFORMANCE.md are made from.

use super::checks;

/// A convention that a device plugin keeps or not.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// `<group>.<what>`; stable, for `--skip` and for programs that read the reports.
    pub name: &'static str,
    /// What the plugin does when it keeps the convention.
    pub title: &'static str,
    /// Where the convention comes from: a file and a function of Kubernetes or KubeVirt.
    pub source: &'static str,
    /// What a user sees when it is not kept.
    pub consequence: &'static str,
    /// What it takes to check it.
    pub needs: Needs,
}

/// What it takes to check a convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A socket is enough.
    Socket,
    /// A plugin that can be started and stopped: `--command`.
    Command,
    /// Commands that make a device unusable and usable again: `--break` and `--mend`.
    Hooks,
}

/// A group of checks: the first part of their names, and what they are about.
#[derive(Debug)]
pub struct Group {
    /// The first part of the names.
    pub name: &'static str,
    /// What they are about.
    pub about: &'static str,
    /// Its checks, in the order in which they are reported.
    pub checks: &'static [&'static Check],
}

/// All groups, in the order in which they are reported.
pub const GROUPS: &[Group] = &[
    checks::registration::GROUP,
    checks::options::GROUP,
    checks::list::GROUP,
    checks::allocate::GROUP,
    checks::variables::GROUP,
    checks::devices::GROUP,
    checks::preferred::GROUP,
    checks::pre_start::GROUP,
    checks::health::GROUP,
    checks::storm::GROUP,
    checks::slow::GROUP,
    checks::restart::GROUP,
    checks::stop::GROUP,
];

/// All checks, in order.
pub fn all() -> impl Iterator<Item = &'static Check> {
    GROUPS.iter().flat_map(|group| group.checks.iter().copied())
}

/// The checks that a `--skip` names: one, or a whole group. Empty when there is none of that name.
#[must_use]
pub fn named(name: &str) -> Vec<&'static Check> {
    all().filter(|check| check.name == name || check.group() == name).collect()
}

impl Check {
    /// The name of its group.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(group, _)| group)
    }
}

impl Needs {
    /// As it is written in tables.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Socket => "",
            Self::Command => "--command",
            Self::Hooks => "--break, --mend",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, fmt::Write as _};

    #[test]
    fn every_name_is_unique_and_begins_with_its_group() {
        let names: HashSet<_> = all().map(|check| check.name).collect();
        assert_eq!(names.len(), all().count());
        for group in GROUPS {
            assert!(group.checks.iter().all(|check| check.group() == group.name), "{}", group.name);
        }
    }

    #[test]
    fn every_check_says_its_source_and_its_consequence() {
        for check in all() {
            assert!(check.source.contains("kubelet") || check.source.contains("KubeVirt"), "{}", check.name);
            assert!(check.consequence.len() > 20 && check.consequence.ends_with('.'), "{}", check.name);
            assert!(!check.title.ends_with('.'), "{}", check.name);
        }
    }

    /// The part of docs/CONFORMANCE.md that lists the checks.
    fn documentation() -> String {
        let mut out = String::new();
        for group in GROUPS {
            let _ = writeln!(out, "### {}: {}\n", group.name, group.about);
            for check in group.checks {
                let needs = match check.needs.text() {
                    "" => String::new(),
                    needs => format!(" (needs `{}`)", needs.replace(", ", "`, `")),
                };
                let _ = writeln!(out, "- **`{}`**: {}{needs}.", check.name, check.title);
                let _ = writeln!(out, "  - What users see otherwise: {}", check.consequence);
                let _ = writeln!(out, "  - Source: {}.", check.source);
            }
            out.push('\n');
        }
        out.trim_end().to_owned() + "\n"
    }

    #[test]
    fn the_documentation_lists_these_checks_and_no_others() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFORMANCE.md");
        let text = std::fs::read_to_string(path).unwrap();
        let start = text.find("### registration").unwrap_or(text.len());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{}{}", &text[..start], documentation())).unwrap();
            return;
        }
        assert_eq!(&text[start..], documentation(), "run UPDATE_DOCS=1 cargo test -p vfiod the_documentation_lists");
    }

    #[test]
    fn a_name_is_a_check_or_a_group() {
        assert_eq!(named("list.numa").len(), 1);
        assert!(named("list").len() > 3);
        assert!(named("lis").is_empty());
    }
}
