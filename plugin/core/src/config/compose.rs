//! Builds the tree from the parser's events within fixed budgets: an alias bomb, deep nesting or a huge file ends in a
//! problem, not in memory. Aliases share their target instead of copying it, but count with its full weight.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};

use super::problem::Position;
use super::scalar::{Meaning, Written, meaning};
use super::tree::{Content, Document, Entry, Fault, Node};

/// Largest file that is read, in bytes. A config map holds at most 1 MiB.
pub(super) const BYTES_MAX: usize = 10 * 1024 * 1024;
/// Most values in one file, aliases counted as what they stand for; [`TEXT_PER_NODE`] bytes of text count as one more.
pub(super) const NODES_MAX: usize = 100_000;
/// Deepest nesting, aliases counted as what they stand for.
pub(super) const DEPTH_MAX: usize = 64;
/// Bytes of text that weigh as much as one value.
const TEXT_PER_NODE: usize = 64;

/// Reads the first document.
pub(super) fn parse(text: &str) -> Result<Document, Fault> {
    if text.len() > BYTES_MAX {
        let message = format!("the file has more than {BYTES_MAX} bytes: {}", text.len());
        return Err(Fault::new(Position::START, message, None));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut composer = Composer::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        if composer.documents == 1 && matches!(event, Event::DocumentStart(..)) {
            return Ok(Document { root: composer.root, second_at: Some(position(&span)) });
        }
        composer.take(event, &span)?;
    }
    Ok(Document { root: composer.root, second_at: None })
}

/// A list or mapping that is still open.
enum Frame {
    List { at: Position, anchor: usize, items: Vec<Rc<Node>> },
    Map { at: Position, anchor: usize, entries: Vec<Entry>, merges: Vec<Rc<Node>>, key: Option<Key> },
}

/// A key whose value has not come yet.
enum Key {
    Named(String, Position),
    Merge,
}

#[derive(Default)]
struct Composer {
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    weight: usize,
    documents: usize,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = position(span);
        match event {
            Event::DocumentStart(..) => self.documents += 1,
            Event::Scalar(text, style, anchor, tag) => {
                let written = written(style, tag.as_deref());
                let content = Content::Scalar(text.to_string(), meaning(&text, written));
                let plain_merge = style == ScalarStyle::Plain && text == "<<";
                self.complete(at, content, anchor, plain_merge)?;
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(at, "an alias stands inside the value it stands for", None));
                };
                self.place(at, target, false)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(at, Frame::List { at, anchor, items: Vec::new() })?;
            }
            Event::MappingStart(_, anchor, _) => {
                let (entries, merges) = (Vec::new(), Vec::new());
                self.open(at, Frame::Map { at, anchor, entries, merges, key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(Frame::List { at, anchor, items }) => {
                    self.complete(at, Content::List(items), anchor, false)?;
                }
                Some(Frame::Map { at, anchor, entries, merges, .. }) => {
                    let entries = merged(entries, &merges)?;
                    self.complete(at, Content::Map(entries), anchor, false)?;
                }
                None => return Err(Fault::new(at, "a list or mapping ends that never began", None)),
            },
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, at: Position, frame: Frame) -> Result<(), Fault> {
        if let Some(Frame::Map { key: None, .. }) = self.frames.last() {
            return Err(Fault::new(at, "a key must be a scalar, but is a list or mapping", None));
        }
        if self.frames.len() >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn complete(&mut self, at: Position, content: Content, anchor: usize, merge: bool) -> Result<(), Fault> {
        let (weight, height) = match &content {
            Content::Scalar(text, _) => (1 + text.len() / TEXT_PER_NODE, 1),
            Content::List(items) => measure(items.iter()),
            Content::Map(entries) => measure(entries.iter().map(|entry| &entry.value)),
        };
        // A container's parts were counted when they were placed.
        let own = if matches!(content, Content::Scalar(..)) { weight } else { 1 };
        let node = Rc::new(Node { at, content, weight, height });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.weigh(at, own)?;
        self.attach(at, node, merge)
    }

    /// Places an alias: it weighs what it stands for.
    fn place(&mut self, at: Position, node: Rc<Node>, merge: bool) -> Result<(), Fault> {
        self.weigh(at, node.weight)?;
        self.attach(at, node, merge)
    }

    fn weigh(&mut self, at: Position, weight: usize) -> Result<(), Fault> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > NODES_MAX {
            let message = format!("the file holds more than {NODES_MAX} values, aliases counted in full");
            return Err(Fault::new(at, message, None));
        }
        Ok(())
    }

    fn attach(&mut self, at: Position, node: Rc<Node>, merge: bool) -> Result<(), Fault> {
        if self.frames.len() + node.height > DEPTH_MAX {
            return Err(too_deep(at));
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, merges, key, .. }) => match key.take() {
                None if merge => *key = Some(Key::Merge),
                None => *key = Some(Key::Named(key_text(at, &node)?, at)),
                Some(Key::Merge) => merges.push(node),
                Some(Key::Named(name, key_at)) => entries.push(Entry { key: name, key_at, value: node }),
            },
        }
        Ok(())
    }
}

/// Weight and height of a container, from its parts.
fn measure<'a>(parts: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    parts.fold((1, 1), |(weight, height), part| {
        (weight.saturating_add(part.weight), height.max(part.height + 1))
    })
}

/// A key as text, the way the YAML-to-JSON step before NVIDIA's decoder spells it.
fn key_text(at: Position, node: &Node) -> Result<String, Fault> {
    match &node.content {
        Content::Scalar(_, Meaning::Null) => Err(Fault::new(at, "a key must not be empty", None)),
        Content::Scalar(_, Meaning::Bool(value)) => Ok(value.to_string()),
        Content::Scalar(_, Meaning::Int(value)) => Ok(value.to_string()),
        Content::Scalar(text, Meaning::Float(_) | Meaning::Text) => Ok(text.clone()),
        Content::List(_) | Content::Map(_) => {
            Err(Fault::new(at, "a key must be a scalar, but is a list or mapping", None))
        }
    }
}

/// The mapping with its merge keys (`<<`) applied: keys of the mapping itself win, then the first merged mapping.
fn merged(mut entries: Vec<Entry>, merges: &[Rc<Node>]) -> Result<Vec<Entry>, Fault> {
    let mut present: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for merge in merges {
        let sources: Vec<&Node> = match &merge.content {
            Content::List(items) => items.iter().map(AsRef::as_ref).collect(),
            Content::Map(_) | Content::Scalar(..) => vec![merge],
        };
        for source in sources {
            let Content::Map(more) = &source.content else {
                let message = format!("`<<` must be given a mapping, but is {}", source.kind());
                return Err(Fault::new(source.at, message, None));
            };
            let fresh: Vec<Entry> =
                more.iter().filter(|entry| !present.contains(&entry.key)).cloned().collect();
            present.extend(fresh.iter().map(|entry| entry.key.clone()));
            entries.extend(fresh);
        }
    }
    Ok(entries)
}

fn written(style: ScalarStyle, tag: Option<&Tag>) -> Written {
    match tag.map(|tag| tag.core_suffix()) {
        None if style == ScalarStyle::Plain => Written::Plain,
        // An explicit `!!int` or `!!bool` decides over quotes.
        Some(Some("int" | "bool" | "float" | "null")) => Written::Plain,
        _ => Written::AsText,
    }
}

fn syntax(error: &granit_parser::ScanError) -> Fault {
    let at = Position::new(error.marker().line(), error.marker().col() + 1);
    let what = error.info();
    let hint = what.starts_with("tabs").then_some("indent with spaces");
    Fault::new(at, format!("not valid YAML: {what}"), hint)
}

fn too_deep(at: Position) -> Fault {
    Fault::new(at, format!("values are nested more than {DEPTH_MAX} levels deep"), None)
}

fn position(span: &Span) -> Position {
    Position::new(span.start.line(), span.start.col() + 1)
}
