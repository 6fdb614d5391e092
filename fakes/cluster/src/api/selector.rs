//! Label and field selectors, because list, watch and the controllers all filter by them.

use serde_json::Value;

use super::error::ApiError;
use super::resource::Resource;

/// Requirements accepted in one selector.
const REQUIREMENTS_MAX: usize = 64;

/// What an object must satisfy; the default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<(String, Test)>,
    fields: Vec<(String, Test)>,
}

/// One requirement on one label or field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Test::In(allowed) => value.is_some_and(|v| allowed.iter().any(|a| a == v)),
            Test::NotIn(refused) => !value.is_some_and(|v| refused.iter().any(|r| r == v)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Selector {
        Selector::default()
    }

    /// Reads `labelSelector` and `fieldSelector` query values; an empty text selects everything.
    ///
    /// # Errors
    /// 400 for a text that is no selector, or a field the resource cannot be selected by.
    pub fn parse(resource: Resource, labels: &str, fields: &str) -> Result<Selector, ApiError> {
        let labels = parts(labels).into_iter().map(label_requirement).collect::<Result<Vec<_>, _>>()?;
        let fields = parts(fields)
            .into_iter()
            .map(|part| field_requirement(resource, part))
            .collect::<Result<Vec<_>, _>>()?;
        if labels.len() + fields.len() > REQUIREMENTS_MAX {
            return Err(ApiError::bad_request(format!(
                "a selector may have at most {REQUIREMENTS_MAX} requirements, got {}",
                labels.len() + fields.len()
            )));
        }
        Ok(Selector { labels, fields })
    }

    /// Selects objects whose labels have all the given values (an object's `nodeSelector`).
    pub fn of_labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Selector {
        let labels = pairs.into_iter().map(|(k, v)| (k.to_string(), Test::In(vec![v.to_string()]))).collect();
        Selector { labels, fields: Vec::new() }
    }

    /// True when the object satisfies every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|(key, test)| test.holds(labels[key.as_str()].as_str()))
            && self.fields.iter().all(|(path, test)| test.holds(Some(&field(object, path))))
    }
}

/// Splits at commas that are not inside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[start..].trim());
    found.retain(|part| !part.is_empty());
    found
}

fn label_requirement(part: &str) -> Result<(String, Test), ApiError> {
    let bad = || ApiError::bad_request(format!("unable to parse requirement: `{part}`"));
    if let Some((key, set)) = part.split_once('(') {
        let values = set.strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(|v| v.trim().to_string()).collect();
        let mut words = key.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok((key.to_string(), Test::In(values))),
            (Some(key), Some("notin"), None) => Ok((key.to_string(), Test::NotIn(values))),
            _ => Err(bad()),
        };
    }
    if let Some((key, test)) = equality(part) {
        return Ok((key, test));
    }
    let (key, test) = match part.strip_prefix('!') {
        Some(key) => (key.trim(), Test::Absent),
        None => (part, Test::Exists),
    };
    if key.is_empty() || key.contains(char::is_whitespace) { Err(bad()) } else { Ok((key.to_string(), test)) }
}

fn equality(part: &str) -> Option<(String, Test)> {
    let one = |v: &str| vec![v.trim().to_string()];
    let (key, test) = if let Some((key, value)) = part.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==") {
        (key, Test::In(one(value)))
    } else {
        let (key, value) = part.split_once('=')?;
        (key, Test::In(one(value)))
    };
    Some((key.trim().to_string(), test))
}

fn field_requirement(resource: Resource, part: &str) -> Result<(String, Test), ApiError> {
    let (path, test) = equality(part).ok_or_else(|| {
        ApiError::bad_request(format!("invalid selector: `{part}`; can't understand `{part}`"))
    })?;
    let known = matches!(path.as_str(), "metadata.name" | "metadata.namespace")
        || match resource {
            Resource::Pods => matches!(
                path.as_str(),
                "spec.nodeName"
                    | "spec.restartPolicy"
                    | "spec.schedulerName"
                    | "spec.serviceAccountName"
                    | "status.phase"
                    | "status.podIP"
                    | "status.nominatedNodeName"
            ),
            Resource::Nodes => path == "spec.unschedulable",
            Resource::Events => {
                path.starts_with("involvedObject.")
                    || matches!(path.as_str(), "reason" | "type" | "source" | "reportingComponent")
            }
            _ => false,
        };
    if known {
        Ok((path, test))
    } else {
        Err(ApiError::bad_request(format!("field label not supported: {path}")))
    }
}

/// The text of a field; absent reads as the zero value, as in Kubernetes.
fn field(object: &Value, path: &str) -> String {
    let path = if path == "source" { "source.component" } else { path };
    match path.split('.').fold(object, |at, step| &at[step]) {
        Value::String(text) => text.clone(),
        Value::Null if path == "spec.unschedulable" => "false".to_string(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(labels: &str, fields: &str) -> bool {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "web", "tier": "front"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        Selector::parse(Resource::Pods, labels, fields).unwrap().matches(&pod)
    }

    #[test]
    fn label_requirements_of_every_form_are_understood() {
        for yes in ["", "app=web", "app==web", "app!=db", "app in (db, web),tier", "app notin (db)", "!gone"]
        {
            assert!(selects(yes, ""), "{yes}");
        }
        for no in
            ["app=db", "app!=web", "gone", "!app", "app in (db)", "app notin (web,db)", "app=web,tier=back"]
        {
            assert!(!selects(no, ""), "{no}");
        }
    }

    #[test]
    fn field_requirements_compare_the_fields_of_the_object() {
        assert!(selects("", "spec.nodeName=n1,status.phase!=Failed"));
        assert!(!selects("", "spec.nodeName="));
        assert!(selects("", "status.podIP="));
    }

    #[test]
    fn a_text_that_is_no_selector_is_a_bad_request() {
        for labels in ["a in b)", "a b", "a within (b)", "!"] {
            assert_eq!(Selector::parse(Resource::Pods, labels, "").map_err(|e| e.code), Err(400), "{labels}");
        }
        assert_eq!(Selector::parse(Resource::Pods, "", "spec.color=red").map_err(|e| e.code), Err(400));
    }
}
