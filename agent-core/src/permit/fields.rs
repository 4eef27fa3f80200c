//! Walking a document: a node with the path that leads to it, and the checks that every field needs.

use super::{
    finding::{Position, Problem},
    yaml::{Node, Value},
};
use std::rc::Rc;

/// A node and its path.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) node: Rc<Node>,
    pub(crate) path: String,
}

/// A key that nobody knows.
pub(crate) struct Unknown {
    pub(crate) at: Position,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) remedy: String,
    /// Whether a known key looks much like it.
    pub(crate) is_near: bool,
}

impl Field {
    /// The whole document.
    pub(crate) fn root(node: &Rc<Node>) -> Self {
        Self { node: Rc::clone(node), path: String::new() }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        self.node.get(key).map(|node| Self { node: Rc::clone(node), path: self.child(key) })
    }

    /// The value of a key, unless it is null.
    pub(crate) fn get_some(&self, key: &str) -> Option<Self> {
        self.get(key).filter(|field| !field.node.is_null())
    }

    fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A problem with this field as a whole.
    pub(crate) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let mut what = what.into();
        if self.path.is_empty() {
            what.insert_str(0, "the document ");
        }
        Problem::new(self.node.at, self.path.clone(), what, remedy)
    }

    /// A problem with this field's value.
    pub(crate) fn bad_value(&self, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let problem = self.problem(what, remedy);
        match &self.node.value {
            Value::Scalar { text, .. } if !self.path.is_empty() => problem.with_value(text),
            _ => problem,
        }
    }

    /// Demands a mapping.
    pub(crate) fn expect_map(&self) -> Result<(), Problem> {
        match self.node.value {
            Value::Map(_) => Ok(()),
            _ => Err(self.bad_value(format!("is {}", self.node.noun()), "write a mapping here (name: value)")),
        }
    }

    /// The items of a list; null counts as an empty one, as in Kubernetes.
    pub(crate) fn items(&self) -> Result<Vec<Self>, Problem> {
        match &self.node.value {
            Value::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(i, node)| Self { node: Rc::clone(node), path: format!("{}[{i}]", self.path) })
                .collect()),
            _ if self.node.is_null() => Ok(Vec::new()),
            _ => Err(self.bad_value(format!("is {}", self.node.noun()), "write a list here (lines that begin with -)")),
        }
    }

    /// The text of this field.
    pub(crate) fn text(&self) -> Result<&str, Problem> {
        match &self.node.value {
            Value::Scalar { .. } if self.node.is_null() => Err(self.problem("has no value", "write a text here")),
            Value::Scalar { text, plain: true } if is_typed(text) => {
                Err(self.bad_value("is a number or a boolean for YAML", format!("put it in quotes: \"{text}\"")))
            }
            Value::Scalar { text, .. } => Ok(text),
            Value::List(_) | Value::Map(_) => {
                Err(self.problem(format!("is {}", self.node.noun()), "write a text here"))
            }
        }
    }

    /// The boolean in this field. Takes the words that kubectl takes (YAML 1.1).
    pub(crate) fn boolean(&self) -> Result<bool, Problem> {
        let Value::Scalar { text, plain } = &self.node.value else {
            return Err(self.problem(format!("is {}", self.node.noun()), "write true or false"));
        };
        match (boolean(text), plain) {
            (Some(value), true) => Ok(value),
            (Some(value), false) => Err(self.bad_value("is a text", format!("write {value} without quotes"))),
            (None, _) => Err(self.bad_value("is not a boolean", "write true or false")),
        }
    }

    /// The keys of this mapping that are none of `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<Unknown> {
        let Value::Map(pairs) = &self.node.value else { return Vec::new() };
        let strange = pairs.iter().map(|(key, _)| key).filter(|key| !known.contains(&key.text.as_str()));
        strange
            .map(|key| {
                let near = nearest(&key.text, known);
                let remedy = match near {
                    _ if key.text == "<<" => "write the fields out: merge keys are not read".to_owned(),
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                let path = self.child(&key.text);
                Unknown { at: key.at, path, key: key.text.clone(), remedy, is_near: near.is_some() }
            })
            .collect()
    }
}

impl Unknown {
    /// As a problem.
    pub(crate) fn problem(self) -> Problem {
        Problem::new(self.at, self.path, "unknown field", self.remedy)
    }
}

/// The known key that was probably meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&key, &candidate.to_lowercase());
    let tolerance = |candidate: &str| 2 + candidate.len() / 8;
    // The comparison is expensive: lengths that differ too much need none.
    let like = known.iter().filter(|candidate| candidate.len().abs_diff(key.len()) <= tolerance(candidate));
    let (distance, near) = like.map(|candidate| (distance(candidate), *candidate)).min()?;
    (distance <= tolerance(near)).then_some(near)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => None,
    }
}

/// Whether YAML (1.2, core schema) takes an unquoted text for a number or a boolean.
fn is_typed(text: &str) -> bool {
    let radix = |prefix, radix| text.strip_prefix(prefix).is_some_and(|t: &str| i64::from_str_radix(t, radix).is_ok());
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
        || radix("0x", 16)
        || radix("0o", 8)
        || text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok()
}
