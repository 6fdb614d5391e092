//! From a file's text to a [`Config`], with every problem of the file at once and in its place.
//!
//! Takes what NVIDIA's parser takes (k8s-device-plugin v0.20): YAML or JSON, YAML 1.1 scalars, keys in any case where
//! Go's decoder allows it, an empty file. What it drops silently is reported here.

use std::collections::BTreeMap;

use super::findings::{Findings, Strictness};
use super::keys::shortened;
use super::object::{Field, Object, Spelling, text};
use super::problem::{Problem, Problems};
use super::schema::Config;
use super::tree::Document;
use super::{check, compose, read_flags, read_sharing, supported};

/// A file that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What it says.
    pub config: Config,
    /// What it says that is ignored, or read otherwise than it may be meant; in the file's order.
    /// At most [`PROBLEMS_MAX`](super::PROBLEMS_MAX).
    pub warnings: Vec<Problem>,
    /// How many more warnings there were.
    pub more_warnings: usize,
    /// Which line each setting stands on, by its path; counted from 1.
    pub lines: BTreeMap<String, u32>,
}

/// Reads a configuration file. `file_name` only appears in problems.
///
/// # Errors
///
/// Everything that is wrong with the file, when at least one of it makes the file unusable.
pub fn read(file_name: &str, text: &str, strictness: Strictness) -> Result<Read, Problems> {
    let Document { root, second_at } = match compose::parse(text) {
        Ok(document) => document,
        Err(fault) => {
            let mut found = Findings::new(file_name, strictness, None);
            found.error(fault.at, "", fault.message, fault.hint.map(str::to_owned));
            return Err(found.finish().err().unwrap_or_default());
        }
    };
    let mut found = Findings::new(file_name, strictness, root.as_deref());
    if let Some(at) = second_at {
        let message = "a second document begins here and is not read".to_owned();
        found.deviation(at, "", message, Some("one file holds one configuration".to_owned()));
    }
    let mut config = Config::default();
    if let Some(root) = root.as_deref().filter(|root| !root.is_null())
        && let Some(object) = Object::open(&mut found, root, "", Spelling::AnyCase)
    {
        document(&mut found, &object, &mut config);
    }
    supported::ignore_entries(&mut config, strictness, &mut found);
    check::check(&mut config, &mut found);
    supported::keep_one_strategy(&mut config, &mut found);
    let lines = found.lines();
    let (warnings, more_warnings) = found.finish()?;
    Ok(Read { config, warnings, more_warnings, lines })
}

fn document(found: &mut Findings, object: &Object<'_>, config: &mut Config) {
    for field in object.take(found, "version") {
        version(found, &field);
    }
    object.descend(found, "flags", |found, object| read_flags::flags(found, &object, &mut config.flags));
    object.descend(found, "resources", |found, object| {
        read_sharing::resources(found, &object, &mut config.resources);
    });
    object.descend(found, "sharing", |found, object| {
        read_sharing::sharing(found, &object, &mut config.sharing);
    });
    object.descend(found, "imex", |found, object| read_flags::imex(found, &object, &mut config.imex));
}

/// Absent and empty mean `v1`.
fn version(found: &mut Findings, field: &Field<'_>) {
    if field.node.is_null() {
        return;
    }
    if let Some(version) = text(found, field).filter(|version| !matches!(version.as_str(), "" | "v1")) {
        let message = format!("`version` must be `v1`, but is `{}`", shortened(&version));
        found.error(field.node.at, &field.path, message, None);
    }
}
