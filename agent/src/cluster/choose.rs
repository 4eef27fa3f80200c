//! Which of the CRs that exist is the source.

use super::{CrName, Document};
use std::collections::BTreeMap;

/// The KubeVirt CRs that exist, by namespace and name.
pub(super) type Existing = BTreeMap<(String, String), Document>;

/// What stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// The source.
    One(&'a Document),
    /// There is none.
    None,
    /// Several, and none was named: their names.
    Several(String),
}

/// Chooses the source.
pub(super) fn choose<'a>(wanted: &CrName, existing: &'a Existing) -> Choice<'a> {
    let mut candidates = existing.values().filter(|document| wanted.allows(&document.namespace, &document.name));
    match (candidates.next(), candidates.next()) {
        (None, _) => Choice::None,
        (Some(one), None) => Choice::One(one),
        (Some(_), Some(_)) => {
            let names: Vec<_> = existing.keys().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
            Choice::Several(names.join(" and "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(names: &[&str]) -> Existing {
        let entry = |name: &&str| {
            let (namespace, name) = name.split_once('/').unwrap();
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            ((namespace.clone(), name.clone()), Document { namespace, name, text: String::new() })
        };
        names.iter().map(entry).collect()
    }

    fn chosen(wanted: &str, names: &[&str]) -> Option<String> {
        match choose(&wanted.parse().unwrap(), &existing(names)) {
            Choice::One(document) => Some(document.title()),
            Choice::None => None,
            Choice::Several(names) => Some(names),
        }
    }

    #[test]
    fn the_only_one_is_the_source_and_two_are_both_named() {
        assert_eq!(chosen("only", &[]), None);
        assert_eq!(chosen("only", &["kubevirt/kv"]).unwrap(), "KubeVirt kubevirt/kv");
        assert_eq!(chosen("only", &["kubevirt/kv", "other/kv"]).unwrap(), "kubevirt/kv and other/kv");
    }

    #[test]
    fn the_named_one_is_the_source_whatever_else_there_is() {
        assert_eq!(chosen("other/kv", &["kubevirt/kv", "other/kv"]).unwrap(), "KubeVirt other/kv");
        assert_eq!(chosen("third/kv", &["kubevirt/kv", "other/kv"]), None);
    }
}
