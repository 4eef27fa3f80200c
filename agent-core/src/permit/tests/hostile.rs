//! Texts that are made to break a reader, or broken by accident.

use super::*;
use std::time::{Duration, Instant};

/// The problem that rejects a document.
fn rejected(text: &str) -> Problem {
    match parse(text, ServeMode::Auto) {
        Err(problem) => problem,
        Ok(parsed) => panic!("accepted {:?} with {:?}", text.get(..200).unwrap_or(text), parsed.problems),
    }
}

#[test]
fn endless_nesting_is_refused_before_it_exhausts_anything() {
    for unit in [
        "[", "{", "- ", "? ", "{a: ", "[{a: ", "- - ", "a: [", "!!x ", "&a ", "&a [", "*a ", "\"", "%", "|\n",
        "a: b: ", "#", "' ",
    ] {
        let text = unit.repeat((1 << 20) / unit.len());
        let begun = Instant::now();
        let _ = parse(&text, ServeMode::Auto);
        eprintln!("{unit:?} {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "{unit:?} took {:?}", begun.elapsed());
    }
    let lines: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth.min(500)))).collect();
    assert!(rejected(&lines).what.contains("64 levels"));
}
