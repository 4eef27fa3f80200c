//! The metrics: `docs/METRICS.md` lists them, made from what is here.

mod catalog;
mod collect;
mod definition;
mod document;

pub use catalog::ALL;
pub use definition::{Definition, Kind, Measure};
pub use document::document;

use crate::{board::Board, status::Held};
use collect::Metrics;
use prometheus_client::{encoding::text::encode, registry::Registry};
use std::{fmt, sync::Arc};

/// All metrics, as OpenMetrics text.
///
/// # Errors
/// None that could happen: it is written to memory.
pub fn render(board: &Arc<Board>, held: Held) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics { board: Arc::clone(board), held }));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_defined_is_what_is_told() {
        let text = render(&Arc::default(), Held::new()).unwrap();
        let told: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let families: Vec<String> = ALL.iter().map(|metric| metric.family()).collect();
        let defined: BTreeSet<&str> = families.iter().map(String::as_str).collect();
        assert_eq!(told, defined);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            assert!(names.insert(metric.sample()), "{} twice", metric.sample());
            assert!(metric.name.starts_with("vfiod_"), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}: OpenMetrics adds it", metric.name);
            assert!(!metric.help.ends_with('.'), "{}: the encoder adds the full stop", metric.name);
        }
    }
}
