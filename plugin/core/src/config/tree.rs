//! The file as a tree in which every key and value knows its place, so that a problem can point at it.

use std::rc::Rc;

use super::problem::Position;
use super::scalar::Meaning;

/// One value with its place.
#[derive(Debug)]
pub(super) struct Node {
    /// Where the value begins.
    pub(super) at: Position,
    /// The value.
    pub(super) content: Content,
    /// Values in it, itself included.
    pub(super) weight: usize,
    /// Levels in it, itself included.
    pub(super) height: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Content {
    /// A scalar: the text as written (escapes resolved) and what it means.
    Scalar(String, Meaning),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A mapping, in the file's order, duplicates kept.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key's text; numbers and booleans as Go spells them.
    pub(super) key: String,
    /// Where the key begins.
    pub(super) key_at: Position,
    /// Its value.
    pub(super) value: Rc<Node>,
}

/// Why there is no tree.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where reading stopped.
    pub(super) at: Position,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<&'static str>,
}

/// The first document of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// Its root; `None` when the file is empty.
    pub(super) root: Option<Rc<Node>>,
    /// Where a second document begins, if there is one. It is not read.
    pub(super) second_at: Option<Position>,
}

impl Node {
    /// What the value is called in a message.
    pub(super) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar(_, Meaning::Null) => "empty",
            Content::Scalar(_, Meaning::Bool(_)) => "a boolean",
            Content::Scalar(_, Meaning::Int(_) | Meaning::Float(_)) => "a number",
            Content::Scalar(_, Meaning::Text) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// Whether the value is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(_, Meaning::Null))
    }
}

impl Fault {
    /// Reading stopped here, for this reason.
    pub(super) fn new(at: Position, message: impl Into<String>, hint: Option<&'static str>) -> Self {
        Fault { at, message: message.into(), hint }
    }
}
