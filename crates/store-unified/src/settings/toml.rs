//! TOML to the tree.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::node::{Entry, MAX_DEPTH, Node, Position, Value};
use super::problem::Sink;

/// How many dots may stand between the names of one key. The parser itself bounds how deep values lie in
/// each other, but not this.
const MAX_DOTS: usize = MAX_DEPTH;

/// The tree of a document; what is no TOML becomes problems, and nothing comes back.
pub(super) fn parse(text: &str, sink: &Sink) -> Option<Node> {
    let lines = Lines::of(text);
    if let Some(at) = long_key(text) {
        let message = format!("more than {MAX_DOTS} dots without `=`, `,` or a bracket between them");
        sink.add("", lines.position(at), message);
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        sink.add("", lines.position(at), format!("this is not TOML: {}", error.message()));
    }
    let tree = errors.is_empty().then(|| lines.table(table.get_ref(), Position::START, 1));
    let tree = tree?.unwrap_or_else(|at| {
        sink.add("", at, format!("lists and maps lie more than {MAX_DEPTH} deep in each other"));
        Node { at, value: Value::Unreadable }
    });
    Some(tree).filter(|tree| tree.value != Value::Unreadable)
}

fn long_key(text: &str) -> Option<usize> {
    let mut dots = 0;
    text.bytes().position(|byte| {
        match byte {
            b'.' => dots += 1,
            b'=' | b',' | b'[' | b']' | b'{' | b'}' | b'\n' => dots = 0,
            _ => {}
        }
        dots > MAX_DOTS
    })
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn position(&self, byte: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= byte).max(1);
        let before = self.text.get(self.starts[line - 1]..byte).unwrap_or_default();
        Position { line, column: before.chars().count() + 1 }
    }

    fn start(&self, span: &Range<usize>) -> Position {
        self.position(span.start)
    }

    fn table(&self, table: &DeTable<'_>, at: Position, depth: usize) -> Result<Node, Position> {
        if depth > MAX_DEPTH {
            return Err(at);
        }
        let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<_>)| {
            let at = self.start(&key.span());
            Ok(Entry::new(key.get_ref().clone().into_owned(), at, self.value(value, depth)?))
        };
        let mut entries: Vec<Entry> = table.iter().map(entry).collect::<Result<_, _>>()?;
        // A table's own order is that of the names.
        entries.sort_by_key(|entry| (entry.at.line, entry.at.column));
        Ok(Node { at, value: Value::Map(entries) })
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Position> {
        let at = self.start(&value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Table(table) => return self.table(table, at, depth + 1),
            DeValue::Array(_) if depth == MAX_DEPTH => return Err(at),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.value(item, depth + 1)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Node { at, value })
    }
}
