//! The grammar of names, labels and annotations, because a label that a real server would refuse must be refused here.

use serde_json::{Value, json};

use super::error::FieldError;

/// Longest label value and longest name part of a label key, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// All annotations of one object together, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 bytes.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.is_empty()
}

/// Dot-separated labels without the limit on each, at most 253 bytes.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_BYTES_MAX
        && text.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

/// What is wrong with `text` as an object's name; `None` when nothing is.
pub fn name_problem(text: &str, must_be_label: bool) -> Option<String> {
    let (ok, max, kind, dots, regex) = if must_be_label {
        (is_dns_label(text), LABEL_BYTES_MAX, "label", "or '-'", "[a-z0-9]([-a-z0-9]*[a-z0-9])?")
    } else {
        let regex = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        (is_dns_subdomain(text), SUBDOMAIN_BYTES_MAX, "subdomain", "'-' or '.'", regex)
    };
    if ok {
        return None;
    }
    if text.len() > max {
        return Some(too_long(max));
    }
    Some(format!(
        "a lowercase RFC 1123 {kind} must consist of lower case alphanumeric characters, {dots}, and must start \
         and end with an alphanumeric character (regex used for validation is '{regex}')"
    ))
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn name_part_problem(text: &str) -> Option<String> {
    if text.len() > LABEL_BYTES_MAX {
        return Some(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    (text.is_empty() || !is_label_text(text)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
         alphanumeric character (regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            .to_string()
    })
}

fn is_label_text(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with(['-', '_', '.'])
        && !text.ends_with(['-', '_', '.'])
}

/// What is wrong with a key of a label, annotation, taint or resource name; `None` when nothing is.
pub fn key_problem(key: &str) -> Option<String> {
    match key.split_once('/') {
        None => name_part_problem(key),
        Some((_, name)) if name.contains('/') => Some(
            "a valid label key must consist of a name part with an optional DNS subdomain prefix and '/'"
                .to_string(),
        ),
        Some((prefix, _)) if !is_dns_subdomain(prefix) => {
            let why = name_problem(prefix, false).unwrap_or_default();
            Some(format!("prefix part {why}"))
        }
        Some((_, name)) => name_part_problem(name),
    }
}

/// What is wrong with a label's value; `None` when nothing is.
pub fn value_problem(value: &str) -> Option<String> {
    if value.len() > LABEL_BYTES_MAX {
        return Some(too_long(LABEL_BYTES_MAX));
    }
    (!is_label_text(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
         and end with an alphanumeric character (regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .to_string()
    })
}

/// Everything wrong with the map of labels at `path`.
pub fn check_labels(labels: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(map) = labels.as_object() else {
        return errors;
    };
    for (key, value) in map {
        if let Some(why) = key_problem(key) {
            errors.push(FieldError::invalid(path, &json!(key), why));
        }
        match value.as_str().map(value_problem) {
            Some(None) => {}
            Some(Some(why)) => errors.push(FieldError::invalid(path, value, why)),
            None => errors.push(FieldError::invalid(path, value, "must be a string")),
        }
    }
    errors
}

/// Everything wrong with the map of annotations.
pub fn check_annotations(annotations: &Value) -> Vec<FieldError> {
    let path = "metadata.annotations";
    let mut errors = Vec::new();
    let Some(map) = annotations.as_object() else {
        return errors;
    };
    let mut bytes = 0;
    for (key, value) in map {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = key_problem(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, &json!(key), why));
        }
        if !value.is_string() {
            errors.push(FieldError::invalid(path, value, "must be a string"));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError {
            field: path.to_string(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes"),
        });
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_value_of_sixty_four_bytes_is_refused_with_the_limit() {
        let labels = json!({"nvidia.com/gpu.product": "x".repeat(64)});
        let errors = check_labels(&labels, "metadata.labels");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].message.ends_with("must be no more than 63 bytes"), "{}", errors[0].message);
        assert!(check_labels(&json!({"nvidia.com/gpu.product": "x".repeat(63)}), "l").is_empty());
    }

    #[test]
    fn label_values_have_a_charset_and_may_be_empty() {
        for good in ["", "a", "Tesla-T4", "4.1_b"] {
            assert_eq!(value_problem(good), None, "{good}");
        }
        for bad in ["a b", "-a", "a-", "ä", "a/b"] {
            assert!(value_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn keys_have_one_optional_prefix() {
        for good in ["a", "nvidia.com/gpu.shared", "A_b.c"] {
            assert_eq!(key_problem(good), None, "{good}");
        }
        for bad in ["", "a/b/c", "/a", "Nvidia.com/gpu", "a b", "nvidia.com/"] {
            assert!(key_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn names_of_namespaces_have_no_dots() {
        assert!(name_problem("a.b", true).is_some());
        assert_eq!(name_problem("a.b", false), None);
        assert!(name_problem("A", false).is_some_and(|why| why.contains("subdomain")));
    }
}
