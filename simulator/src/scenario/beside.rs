//! Files beside a scenario: configurations, manifests, curves. They may lie in its directory and below, nowhere else.

use std::io::Read;
use std::path::{Component, Path};

use super::decode::Reader;
use super::yaml::Node;

/// Reads the file that a scenario names, up to a limit of bytes with its name; the answer is the file as it can be found
/// from where the scenario was, and its text.
pub(super) fn read(
    reader: &mut Reader,
    node: &Node,
    path: &str,
    (bytes_max, limit): (u64, &str),
) -> Option<(String, String)> {
    let name = reader.text(node, path)?;
    let is_beside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_beside || name.is_empty() {
        let message = format!("expected a path below the scenario's directory, found `{name}`");
        reader.problem(node.place, path, message);
        return None;
    }
    let file = Path::new(reader.file()).parent().unwrap_or(Path::new("")).join(&name);
    let read = std::fs::File::open(&file).and_then(|file| {
        let mut text = String::new();
        file.take(bytes_max + 1).read_to_string(&mut text).map(|_| text)
    });
    match read {
        Ok(text) if text.len() as u64 <= bytes_max => Some((file.display().to_string(), text)),
        Ok(_) => {
            let message = format!("`{name}` is larger than {bytes_max} bytes ({limit})");
            reader.problem(node.place, path, message);
            None
        }
        Err(error) => {
            reader.problem(node.place, path, format!("cannot read `{}`: {error}", file.display()));
            None
        }
    }
}
