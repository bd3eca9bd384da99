//! A settings file as a tree in which everything knows its position, whichever language it is written in.

/// How large a file may be.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// How deeply lists and maps may be nested.
pub(super) const MAX_DEPTH: usize = 32;
/// How many values a file may have, with those that aliases repeat.
pub(super) const MAX_NODES: usize = 500_000;

/// A place in the file; lines and columns count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// A value and where it stands: a list or map under a key stands where its key does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A text that has a part from the environment, so that no message may show it.
    Concealed(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// What is wrong with it has been said.
    Unreadable,
}

/// A key of a map with its value. A key may be there twice; the reader of the map says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Entry {
    pub(super) fn new(key: String, at: Position, mut value: Node) -> Self {
        if matches!(value.value, Value::List(_) | Value::Map(_)) {
            value.at = at;
        }
        Self { key, at, value }
    }
}

impl Node {
    /// What it is, for a message about what was expected.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Text(text) => describe_text(text),
            Value::Concealed(_) => "a text from the environment".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Unreadable => "what cannot be read".to_owned(),
        }
    }
}

fn describe_text(text: &str) -> String {
    match text {
        "" => "an empty text".to_owned(),
        _ if may_be_shown(text) => format!("the text `{}`", text.escape_debug()),
        _ => "a text".to_owned(),
    }
}

/// Whether a message may show a text of the file: not one that is long, or may be a URL and so hold a
/// password.
pub(super) fn may_be_shown(text: &str) -> bool {
    !text.contains(['@', '?']) && !text.contains("//") && text.chars().count() <= 60
}
