//! YAML text as a tree that knows where everything was written.
//!
//! Built from the parser's events rather than from a loaded document, since a document has forgotten what is needed
//! here: the digits of a number, keys that were written twice, anchors and tags. The parser keeps its own stack, so does
//! this builder, and so no input can exhaust the thread's.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::problem::Problem;

/// How deep maps and lists may be nested. No file needs more than seven levels.
const MAX_DEPTH: usize = 16;

/// One value and where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Column in characters, counted from 1.
    pub(crate) column: usize,
    /// Whether an anchor (`&name`) or a tag (`!name`) stands before the value.
    pub(crate) decoration: Option<Decoration>,
    /// The value.
    pub(crate) value: Value,
}

/// A value as it was written.
#[derive(Debug)]
pub(crate) enum Value {
    /// A scalar without its quotes.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written without quotes, so that it may be a number.
        plain: bool,
    },
    /// A map, in the order of the file, with keys that may occur twice.
    Map(Vec<(Node, Node)>),
    /// A list, in the order of the file.
    List(Vec<Node>),
    /// An alias (`*name`).
    Alias,
}

/// YAML that gives a value a second meaning, which a price file does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoration {
    /// `&name`.
    Anchor,
    /// `!name`.
    Tag,
}

/// A map or list whose end has not been reached.
struct Open {
    node: Node,
    /// The key whose value comes next.
    key: Option<Node>,
}

/// Reads the one document of `text`; `None` if there is nothing in it.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Problem> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| not_yaml(*error.marker(), error.info()))?;
        let node = match event {
            Event::MappingStart(anchor, tag) => {
                let node = node(span.start, decoration(anchor, tag.is_some()), Value::Map(Vec::new()));
                open.push(Open { node, key: None });
                None
            }
            Event::SequenceStart(anchor, tag) => {
                let node = node(span.start, decoration(anchor, tag.is_some()), Value::List(Vec::new()));
                open.push(Open { node, key: None });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(|closed| closed.node),
            Event::Scalar(text, style, anchor, tag) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                Some(node(span.start, decoration(anchor, tag.is_some()), value))
            }
            Event::Alias(_) => Some(node(span.start, None, Value::Alias)),
            Event::DocumentStart(_) if root.is_some() => return Err(second_document(span.start)),
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(too_deep(span.start));
        }
        match (node, open.last_mut()) {
            (Some(node), Some(parent)) => parent.take(node),
            (Some(node), None) => root = Some(node),
            (None, _) => {}
        }
    }
    Ok(root)
}

fn node(start: Marker, decoration: Option<Decoration>, value: Value) -> Node {
    Node { line: start.line(), column: start.col() + 1, decoration, value }
}

fn decoration(anchor: usize, tagged: bool) -> Option<Decoration> {
    // The parser numbers anchors from 1.
    (anchor > 0).then_some(Decoration::Anchor).or(tagged.then_some(Decoration::Tag))
}

fn not_yaml(at: Marker, info: &str) -> Problem {
    Problem::at(
        at.line(),
        at.col() + 1,
        "",
        format!("expected YAML, but it cannot be read on from here: {info}"),
    )
}

fn second_document(at: Marker) -> Problem {
    let message = "expected one YAML document, found a second one; write everything into one, without `---`";
    Problem::at(at.line(), at.col() + 1, "", message)
}

fn too_deep(at: Marker) -> Problem {
    let message = format!("expected at most {MAX_DEPTH} levels of maps and lists, found more");
    Problem::at(at.line(), at.col() + 1, "", message)
}

// === impl Open ===

impl Open {
    fn take(&mut self, node: Node) {
        match (&mut self.node.value, self.key.take()) {
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::Map(_), None) => self.key = Some(node),
            (Value::List(items), _) => items.push(node),
            (Value::Scalar { .. } | Value::Alias, _) => {}
        }
    }
}
