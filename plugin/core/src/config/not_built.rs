//! Keys that are part of the format and whose effect is not built yet: refused with that reason, because a key that is
//! accepted must do something.

use super::findings::Findings;
use super::object::Object;

/// Each key with its mapping and what it will do.
pub(super) const NOT_BUILT: &[(&str, &str, &str)] = &[
    ("", "health", "which faults take a GPU away, and how it comes back, is not configurable"),
    ("sharing", "pressure", "replicas are not withheld when a GPU runs out of memory"),
];

/// Refuses a key of this mapping if the file gives it a value.
pub(super) fn refuse(found: &mut Findings, object: &Object<'_>, key: &str) {
    for field in object.take(found, key).into_iter().filter(|field| !field.node.is_null()) {
        let effect = NOT_BUILT
            .iter()
            .find(|(parent, known, _)| *known == key && field.path == super::findings::join(parent, key));
        let effect = effect.map_or("it has no effect", |(_, _, effect)| *effect);
        let message = format!("`{}` is not built yet: {effect}", field.path);
        found.error(field.node.at, &field.path, message, Some("remove it".to_owned()));
    }
}
