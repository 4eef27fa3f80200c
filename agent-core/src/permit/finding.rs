//! What is wrong with a document, or worth saying about it, and where.

use std::fmt;

/// A place in a document. Line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
    /// No place: the document is an object of the API server, which nobody sees as text.
    pub const NOWHERE: Self = Self { line: 0, column: 0 };

    /// Whether it is a place in a text.
    #[must_use]
    pub const fn is_somewhere(self) -> bool {
        self.line > 0
    }
}

/// One thing found in a document: where, in which field, what, and what would be right.
///
/// `Display` gives `line:column: field: what; remedy`; the caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub at: Position,
    /// The field's path, such as `permittedHostDevices.pciHostDevices[1].pciVendorSelector`; empty for the whole document.
    pub field: String,
    /// The value that stands there, where it is one.
    pub value: Option<String>,
    /// What is wrong with it, or worth knowing.
    pub what: String,
    /// What would be right, or what to do.
    pub remedy: String,
}

/// Something that is rejected, with everything that depends on it.
pub type Problem = Finding;

/// Something that is accepted and yet worth saying.
pub type Notice = Finding;

/// Longer values are cut: a finding is one line of a log.
const SHOWN_MAX: usize = 80;
/// How much of the source line an excerpt shows on either side of the place.
const EXCERPT_HALF: usize = 60;

impl Finding {
    pub(crate) fn new(
        at: Position,
        field: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { at, field: field.into(), value: None, what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }

    /// The finding without its place: `field: what; remedy`.
    #[must_use]
    pub fn message(&self) -> impl fmt::Display {
        Message(self)
    }

    /// The line of the document that this is about, and below it a caret under the place. Empty when the document has no
    /// such line. Control characters are shown as `·`; of a long line only the part around the place is shown.
    #[must_use]
    pub fn excerpt(&self, document: &str) -> String {
        let document = document.strip_prefix('\u{feff}').unwrap_or(document);
        let Some(line) = document.lines().nth(self.at.line.saturating_sub(1)) else { return String::new() };
        let before = self.at.column.saturating_sub(1);
        let skipped = before.saturating_sub(EXCERPT_HALF);
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(2 * EXCERPT_HALF)
            .map(|c| if c == '\t' { ' ' } else { c })
            .map(|c| if c.is_control() { '·' } else { c })
            .collect();
        format!("    {}\n    {}^", shown.trim_end(), " ".repeat(before - skipped))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A finding without its place.
struct Message<'a>(&'a Finding);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { at: _, field, value, what, remedy } = self.0;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        if let Some(value) = value {
            write!(f, "{} ", Shown(value))?;
        }
        f.write_str(what)?;
        if !remedy.is_empty() {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}

/// The value of a result; a problem goes to the others.
pub(crate) fn good<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// A value of the document, quoted, on one line, and cut where it is long.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_MAX) {
            Some((cut, _)) => write!(f, "{:?}…", self.0.get(..cut).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: usize, column: usize) -> Finding {
        Finding::new(Position { line, column }, "a.b[1]", "is wrong", "write it right").with_value("x")
    }

    #[test]
    fn reads_as_place_field_value_reason_and_remedy() {
        assert_eq!(finding(3, 7).to_string(), "3:7: a.b[1]: \"x\" is wrong; write it right");
        let long = finding(1, 1).with_value(&"ü\n".repeat(100)).to_string();
        assert!(long.chars().count() < 200 && !long.contains('\n'), "{long}");
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(finding(2, 4).excerpt("a: 1\nb: x\nc: 2\n"), "    b: x\n       ^");
        assert_eq!(finding(9, 1).excerpt("a: 1\n"), "");
        let far = format!("{}x{}", " ".repeat(1_000_000), "y".repeat(1_000));
        let shown = finding(1, 1_000_001).excerpt(&far);
        let (line, caret) = shown.split_once('\n').unwrap();
        assert!(line.len() < 200 && line.find('x') == caret.find('^'), "{shown}");
    }
}
