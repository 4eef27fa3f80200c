//! Which metrics a text of queries names, with the labels that it asks them for.

use std::collections::BTreeSet;

/// A metric of vfiod in a query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Its name, as queries say it.
    pub metric: String,
    /// The labels of its selector.
    pub labels: BTreeSet<String>,
}

const PREFIX: &str = "vfiod_";

/// Every metric of vfiod that `text` names.
#[must_use]
pub fn asked(text: &str) -> BTreeSet<Asked> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(PREFIX) {
        let (before, rest) = (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default());
        if before.ends_with(is_part) {
            continue;
        }
        let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let (metric, behind) = rest.split_at(end);
        let labels = behind.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(labels, _)| labels);
        let labels = labels.unwrap_or_default().split(',').filter_map(|part| {
            let end = part.find(['=', '!'])?;
            Some(part.get(..end)?.trim().to_owned())
        });
        found.insert(Asked { metric: metric.to_owned(), labels: labels.collect() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_with_the_labels_that_select_them() {
        let text = r#"sum by (le) (rate(vfiod_a_bucket{node=~"$node",health!="x"}[5m])) / my_vfiod_b > vfiod_c"#;
        let found: Vec<(String, Vec<String>)> =
            asked(text).into_iter().map(|one| (one.metric, one.labels.into_iter().collect())).collect();
        let expected = [("vfiod_a_bucket", vec!["health", "node"]), ("vfiod_c", vec![])];
        let expected =
            expected.map(|(name, labels)| (name.to_owned(), labels.into_iter().map(str::to_owned).collect()));
        assert_eq!(found, expected);
    }
}
