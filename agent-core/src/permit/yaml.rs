//! A YAML (or JSON) text as a tree whose every node knows its place.
//!
//! Built from the parser's events rather than its own loader, for three reasons: an alias is shared instead of copied, so
//! that no text can grow; depth is limited, so that no text can exhaust the stack; and a key that appears twice is
//! reported with both places.

use super::finding::{Position, Problem, Shown};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
};

/// The longest document that is read, in bytes. Kubernetes keeps no object longer than 1.5 MiB.
pub const DOCUMENT_MAX: usize = 4 << 20;
/// The deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// A node and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
    /// How many levels it has: 1 for a scalar.
    depth: usize,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    /// Anything written as a single value. `plain` when it is not quoted, so that `true` and `12` are no texts.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Rc<Node>>),
    /// A mapping, in the order of the document.
    Map(Vec<(Key, Rc<Node>)>),
}

/// The key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

impl Node {
    /// Whether it is written as nothing, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        let Value::Map(pairs) = &self.value else { return None };
        pairs.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The value of a key, where it is a scalar.
    pub(crate) fn get_text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The kind of value, in the words of a message.
    pub(crate) fn noun(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
        }
    }
}

/// Reads all documents of a text.
pub(crate) fn read(text: &str) -> Result<Vec<Rc<Node>>, Problem> {
    read_at(text, |place| place)
}

/// Reads an object that nobody sees as text: its nodes have no place.
pub(crate) fn read_object(text: &str) -> Result<Vec<Rc<Node>>, Problem> {
    read_at(text, |_| Position::NOWHERE)
}

fn read_at(text: &str, at: impl Fn(Position) -> Position) -> Result<Vec<Rc<Node>>, Problem> {
    if text.len() > DOCUMENT_MAX {
        let what = format!("the document is longer than {DOCUMENT_MAX} bytes");
        return Err(Problem::new(
            Position::START,
            "",
            what,
            "give the KubeVirt CR alone, or vfiod's own configuration",
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, at(place(&span.start)))?,
            Err(error) => return Err(syntax(text, place(error.marker()), error.info())),
        }
    }
    Ok(builder.documents)
}

fn place(marker: &Marker) -> Position {
    // The parser counts lines from 1 and columns from 0.
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn syntax(text: &str, at: Position, info: &str) -> Problem {
    if info.contains("recursion limit") {
        return too_deep(at); // the scanner has a limit of its own for brackets, and looks ahead
    }
    let line = text.lines().nth(at.line - 1);
    let tab = line.unwrap_or_default().chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let remedy = if tab {
        "indent with spaces: YAML takes no tabs there"
    } else if line.is_none() {
        "the document ends too early: close what is still open"
    } else {
        "correct the YAML or JSON there"
    };
    Problem::new(at, "", format!("syntax error: {info}"), remedy)
}

/// A collection that is still open.
struct Open {
    at: Position,
    anchor: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map { pairs: Vec<(Key, Rc<Node>)>, key: Option<Key>, seen: HashMap<String, Position> },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text_tag(tag.as_ref());
                let node = Node { at, value: Value::Scalar { text: text.into_owned(), plain }, depth: 1 };
                self.close(Rc::new(node), anchor)
            }
            Event::SequenceStart(anchor, _) => self.enter(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.enter(at, anchor, Content::Map { pairs: Vec::new(), key: None, seen: HashMap::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let value = match open.content {
                    Content::List(items) => Value::List(items),
                    Content::Map { pairs, .. } => Value::Map(pairs),
                };
                self.close(Rc::new(Node { at: open.at, value, depth: open.depth + 1 }), open.anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.close(node, 0)
                }
                None => Err(Problem::new(
                    at,
                    "",
                    "syntax error: an alias stands for a value that is not complete",
                    "write the value out",
                )),
            },
        }
    }

    fn enter(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, anchor, depth: 0, content });
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn close(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.depth = open.depth.max(node.depth);
        // Aliases make a node deeper than the text is nested.
        if open.depth >= DEPTH_MAX {
            return Err(too_deep(node.at));
        }
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { pairs, key, seen } => match key.take() {
                Some(key) => pairs.push((key, node)),
                None => *key = Some(new_key(&node, seen)?),
            },
        }
        Ok(())
    }
}

fn new_key(node: &Node, seen: &mut HashMap<String, Position>) -> Result<Key, Problem> {
    let Value::Scalar { text, .. } = &node.value else {
        return Err(Problem::new(node.at, "", format!("{} stands as a key", node.noun()), "write a name as the key"));
    };
    match seen.entry(text.clone()) {
        Entry::Occupied(first) => Err(Problem::new(
            node.at,
            "",
            format!("the key {} appears twice; first in line {}", Shown(text), first.get().line),
            "keep one of the two",
        )),
        Entry::Vacant(slot) => {
            slot.insert(node.at);
            Ok(Key { at: node.at, text: text.clone() })
        }
    }
}

fn too_deep(at: Position) -> Problem {
    Problem::new(at, "", format!("nested more than {DEPTH_MAX} levels deep"), "write it flatter")
}

/// `!!str 12` is a text.
fn is_text_tag(tag: Option<&Cow<'_, Tag>>) -> bool {
    tag.is_some_and(|tag| {
        tag.is_yaml_core_schema() && tag.suffix == "str" || tag.handle.is_empty() && tag.suffix == "!"
    })
}
