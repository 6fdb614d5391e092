//! What CDI allows as names, because a runtime ignores a whole file for one bad name.

use thiserror::Error;

use super::Class;

/// First part of the name of an annotation, as in NVIDIA's plugin.
const ANNOTATION: &str = "nvidia-device-plugin_";
/// FNV-1a, 128 bits: where it begins.
const HASH_BEGIN: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
/// FNV-1a, 128 bits: by what it multiplies.
const HASH_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The name by which a runtime is asked for a device: `vendor/class=device`.
pub fn qualified(vendor: &str, class: Class, device: &str) -> String {
    format!("{vendor}/{}={device}", class.as_str())
}

/// Letters, digits, `_`, `-` and `.`, from a letter to a letter or digit.
pub fn is_vendor(name: &str) -> bool {
    is_name(name, "_-.", |first| first.is_ascii_alphabetic())
}

/// As a vendor.
pub fn is_class(name: &str) -> bool {
    is_vendor(name)
}

/// Letters, digits, `_`, `-`, `.` and `:`, from a letter or digit to a letter or digit.
pub fn is_device(name: &str) -> bool {
    is_name(name, "_-.:", |first| first.is_ascii_alphanumeric())
}

fn is_name(name: &str, marks: &str, begins: fn(char) -> bool) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    name.starts_with(begins) && name.ends_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(known)
}

/// A vendor that runtimes would not accept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "a CDI vendor has letters, digits, `_`, `-` and `.`, begins with a letter and ends with a letter or digit, but is `{name}`"
)]
pub struct VendorError {
    /// The name.
    pub name: String,
}

/// Takes a vendor that runtimes accept.
///
/// # Errors
/// It is none.
pub fn check_vendor(name: &str) -> Result<String, VendorError> {
    if is_vendor(name) { Ok(name.to_owned()) } else { Err(VendorError { name: name.to_owned() }) }
}

/// The key of an answer's annotation. NVIDIA's ends with a random UUID, so that several resources of one container do not
/// overwrite each other; here it follows from resource and ids, so that a replayed journal gives the same answer.
pub fn annotation_key<'a>(prefix: &str, resource: &'a str, ids: impl Iterator<Item = &'a str>) -> String {
    let mut hash = HASH_BEGIN;
    for part in std::iter::once(resource).chain(ids) {
        // the byte 0 is in no name, so that "a", "b" is not "ab"
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(HASH_PRIME);
        }
    }
    let hex = format!("{hash:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!(
        "{prefix}{ANNOTATION}{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}
