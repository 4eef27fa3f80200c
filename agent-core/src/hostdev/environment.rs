//! The environment of a container.

use crate::variables::{MDEV_PREFIX, PCI_PREFIX, USB_PREFIX};
use std::collections::BTreeMap;

/// The variables of a container, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// A line that sets no variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseEnvironmentError {
    /// It has no `=`.
    #[error("line {line}: {text:?} sets no variable; write NAME=VALUE, as `env` prints it")]
    NoValue {
        /// The line, from 1.
        line: usize,
        /// What stands there, or its beginning.
        text: String,
    },
    /// The name was set before, to something else.
    #[error("line {line}: {name} is set a second time, to something else than in line {first}; keep one of the two")]
    Twice {
        /// The line, from 1.
        line: usize,
        /// The variable.
        name: String,
        /// The line that set it first.
        first: usize,
    },
}

impl Environment {
    /// Reads what `env` prints, one `NAME=VALUE` a line, or what `/proc/PID/environ` holds (zero bytes between them).
    /// Blank lines, comments (`#`), blanks before a name and `export` are passed over; quotes around a value are taken
    /// off; a line without `=` continues the value before it.
    ///
    /// # Errors
    ///
    /// Names the first line that should set a variable and does not, or that sets a device's variable again to
    /// something else.
    pub fn parse(text: &str) -> Result<Self, ParseEnvironmentError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let of_process = text.contains('\0');
        let mut lines = Lines::default();
        if of_process {
            for (index, text) in text.split('\0').enumerate().filter(|(_, text)| !text.is_empty()) {
                lines.take(index + 1, text, |value| value)?;
            }
        } else {
            let lines_of_text = text.lines().map(str::trim).enumerate();
            for (index, text) in lines_of_text.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
                lines.take(index + 1, shell(text), unquoted)?;
            }
        }
        Ok(lines.environment)
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// All names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self { variables: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Lines read so far.
#[derive(Default)]
struct Lines {
    environment: Environment,
    /// Where each device's variable was set.
    places: BTreeMap<String, usize>,
    last: Option<String>,
}

impl Lines {
    fn take(&mut self, line: usize, text: &str, value_of: impl Fn(&str) -> &str) -> Result<(), ParseEnvironmentError> {
        let variables = &mut self.environment.variables;
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let before = self.last.as_ref().filter(|_| !carries_devices(text)).and_then(|name| variables.get_mut(name));
            let Some(before) = before else {
                return Err(ParseEnvironmentError::NoValue { line, text: text.chars().take(80).collect() });
            };
            before.push('\n');
            before.push_str(text);
            return Ok(());
        };
        let value = value_of(value);
        if carries_devices(name) {
            let first = *self.places.entry(name.to_owned()).or_insert(line);
            if variables.get(name).is_some_and(|before| before != value) {
                return Err(ParseEnvironmentError::Twice { line, name: name.to_owned(), first });
            }
        }
        variables.insert(name.to_owned(), value.to_owned());
        self.last = Some(name.to_owned());
        Ok(())
    }
}

/// Whether a variable of this name carries devices.
pub(super) fn carries_devices(name: &str) -> bool {
    [PCI_PREFIX, MDEV_PREFIX, USB_PREFIX].iter().any(|prefix| name.starts_with(prefix))
}

fn shell(line: &str) -> &str {
    line.strip_prefix("export ").map_or(line, str::trim_start)
}

fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}
