//! YAML to the tree. The parser's events are put together here, so that depth and aliases are bounded and
//! a key that is there twice is seen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::node::{Entry, MAX_DEPTH, MAX_NODES, Node, Position, Value};
use super::problem::Sink;

/// The tree of a document; what is no YAML at all becomes a problem, and nothing comes back.
pub(super) fn parse(text: &str, sink: &Sink) -> Option<Node> {
    let mut builder = Builder::default();
    let parsed = builder.feed(text);
    if let Err((at, message)) = parsed {
        sink.add("", at, message);
        return None;
    }
    let Some(root) = builder.root else {
        sink.add("", Position::START, "the file is empty");
        return None;
    };
    Some(root)
}

type Wrong = (Position, String);

fn position(mark: Marker) -> Position {
    Position { line: mark.line().max(1), column: mark.col() + 1 }
}

/// A list or map whose end has not come.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    /// The entries, and the key whose value has not come.
    Map(Vec<Entry>, Option<(String, Position)>),
}

/// A value that an alias may repeat, with what repeating it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn feed(&mut self, text: &str) -> Result<(), Wrong> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) =
                event.map_err(|e| (position(*e.marker()), format!("this is not YAML: {}", e.info())))?;
            let at = position(span.start);
            match event {
                Event::DocumentStart(_) if self.root.is_some() => {
                    return Err((at, "a second document begins; the settings are one document".to_owned()));
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(text, style, anchor, tag.as_ref(), at)?;
                }
                Event::SequenceStart(anchor, _) => self.begin(at, anchor, Content::List(Vec::new()))?,
                Event::MappingStart(anchor, _) => self.begin(at, anchor, Content::Map(Vec::new(), None))?,
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
                Event::Alias(anchor) => self.alias(anchor, at)?,
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Cow<'_, Tag>>,
        at: Position,
    ) -> Result<(), Wrong> {
        if let Some(Open { content: Content::Map(_, key @ None), .. }) = self.open.last_mut() {
            *key = Some((text.into_owned(), at));
            return Ok(());
        }
        let shown = format!("the value is not what its tag `{}` says", tag.map_or("", |t| &t.suffix));
        let value = match Scalar::parse_from_cow_and_metadata(text, style, tag) {
            Some(Scalar::Null) => Value::Null,
            Some(Scalar::Boolean(value)) => Value::Bool(value),
            Some(Scalar::Integer(number)) => Value::Integer(number),
            Some(Scalar::FloatingPoint(number)) => Value::Float(number.into_inner()),
            Some(Scalar::String(text)) => Value::Text(text.into_owned()),
            None => return Err((at, shown)),
        };
        self.count(at, 1)?;
        self.add(Node { at, value }, anchor)
    }

    fn begin(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Wrong> {
        if let Some(Open { content: Content::Map(_, None), .. }) = self.open.last() {
            return Err((at, "a key is a list or map; a key is a text".to_owned()));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(at, 1)?;
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Wrong> {
        let Some(Open { at, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(entries, _) => Value::Map(entries),
        };
        self.add(Node { at, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Wrong> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err((at, "an alias lies within what it stands for".to_owned()));
        };
        if self.open.len() + anchored.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if let Some(Open { content: Content::Map(_, None), .. }) = self.open.last() {
            return Err((at, "a key is an alias; a key is a text".to_owned()));
        }
        let nodes = anchored.nodes;
        self.count(at, nodes)?;
        let node = self.anchors.get(&anchor).map(|anchored| anchored.node.clone());
        node.map_or(Ok(()), |node| self.add(node, 0))
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Wrong> {
        if anchor > 0 {
            let (nodes, height) = measure(&node);
            // Each anchor keeps a copy.
            self.count(node.at, nodes)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, key)) => {
                entries.extend(key.take().map(|(key, at)| Entry::new(key, at, node)));
            }
            None => self.root = Some(node),
        }
        Ok(())
    }

    fn count(&mut self, at: Position, nodes: usize) -> Result<(), Wrong> {
        self.nodes += nodes;
        match self.nodes > MAX_NODES {
            true => {
                Err((at, format!("the file has more than {MAX_NODES} values, with those of its aliases")))
            }
            false => Ok(()),
        }
    }
}

fn too_deep(at: Position) -> Wrong {
    (at, format!("lists and maps lie more than {MAX_DEPTH} deep in each other"))
}

/// How many values a tree has, and how deep it is.
fn measure(node: &Node) -> (usize, usize) {
    let join = |(nodes, height): (usize, usize), child: &Node| {
        let (more, below) = measure(child);
        (nodes + more, height.max(below + 1))
    };
    match &node.value {
        Value::List(items) => items.iter().fold((1, 1), join),
        Value::Map(entries) => entries.iter().map(|entry| &entry.value).fold((1, 1), join),
        _ => (1, 0),
    }
}
