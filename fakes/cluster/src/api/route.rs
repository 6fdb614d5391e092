//! Paths and query parameters of the Kubernetes REST API, read into what they name.

use super::error::ApiError;
use super::rbac::Asked;
use super::resource::Resource;
use super::store::Key;

/// Query parameters, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL behind the `?`.
    pub(super) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Query(pairs.collect())
    }

    /// A parameter's text; empty when it is absent.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }

    /// True for a parameter that says `true` or `1`.
    pub(super) fn is_true(&self, key: &str) -> bool {
        matches!(self.text(key), "true" | "1")
    }

    /// The one object that a field selector leaves, which counts as named; empty when there is none.
    fn named_object(&self) -> String {
        let name = self.text("fieldSelector").split(',').find_map(|part| {
            let (field, name) = part.split_once('=')?;
            (field == "metadata.name").then(|| name.trim_start_matches('=').to_string())
        });
        name.unwrap_or_default()
    }

    /// A parameter's number, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        match self.text(key) {
            "" => Ok(None),
            text => {
                let number = text.parse().map_err(|_| {
                    ApiError::bad_request(format!("invalid value for query parameter `{key}`: `{text}`"))
                })?;
                Ok(Some(number))
            }
        }
    }
}

/// Percent-decoding; a broken escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a path names.
pub(super) enum Target {
    /// All objects of a resource, in one namespace or all.
    Collection { resource: Resource, namespace: Option<String> },
    /// One object, or the named part of it; `sub` is empty for the whole.
    Object { key: Key, sub: String },
}

impl Target {
    /// What a request of this method wants, in the words of RBAC (Kubernetes 1.36, `RequestInfo`).
    pub(super) fn asked(&self, method: &str, query: &Query) -> Asked {
        let is_watch = query.is_true("watch");
        let (resource, namespace, name, sub, is_one) = match self {
            Target::Collection { resource, namespace } => {
                (*resource, namespace.clone().unwrap_or_default(), query.named_object(), "", false)
            }
            Target::Object { key, sub } => {
                (key.resource, key.namespace.clone(), key.name.clone(), sub.as_str(), true)
            }
        };
        let verb = match (method, is_one) {
            ("GET", _) if is_watch => "watch",
            ("GET", true) => "get",
            ("GET", false) => "list",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            (_, _) => "create",
        };
        Asked {
            verb: verb.to_string(),
            group: resource.group().to_string(),
            resource: resource.plural().to_string(),
            subresource: sub.to_string(),
            // a namespace is in itself
            namespace: if resource == Resource::Namespaces { name.clone() } else { namespace },
            name,
        }
    }
}

/// Reads a path.
///
/// # Errors
/// 404 when it names nothing this server has.
pub(super) fn target(path: &str) -> Result<Target, ApiError> {
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return Err(ApiError::no_such_path()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) =>
        {
            (Some(*namespace), rest)
        }
        rest => (None, rest),
    };
    let (plural, rest) = rest.split_first().ok_or_else(ApiError::no_such_path)?;
    let resource = Resource::find(group, plural).ok_or_else(ApiError::no_such_path)?;
    if namespace.is_some() != resource.namespaced() && !(namespace.is_none() && rest.is_empty()) {
        return Err(ApiError::no_such_path());
    }
    match rest {
        [] => Ok(Target::Collection { resource, namespace: namespace.map(str::to_string) }),
        [name] | [name, _] => {
            let key = Key::new(resource, namespace.unwrap_or_default(), name);
            Ok(Target::Object { key, sub: rest.get(1).copied().unwrap_or_default().to_string() })
        }
        _ => Err(ApiError::no_such_path()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_collections_and_objects_with_and_without_namespaces() {
        let read = |path: &str| match target(path) {
            Ok(Target::Collection { resource, namespace }) => format!("{resource:?} in {namespace:?}"),
            Ok(Target::Object { key, sub }) => {
                format!("{:?} {}/{} {sub}", key.resource, key.namespace, key.name)
            }
            Err(refused) => refused.code.to_string(),
        };
        assert_eq!(read("/api/v1/pods"), "Pods in None");
        assert_eq!(read("/api/v1/namespaces/a/pods"), "Pods in Some(\"a\")");
        assert_eq!(read("/api/v1/namespaces/a/pods/p/status"), "Pods a/p status");
        assert_eq!(read("/api/v1/namespaces/a"), "Namespaces /a ");
        assert_eq!(read("/api/v1/namespaces/a/status"), "Namespaces /a status");
        assert_eq!(read("/apis/apps/v1/namespaces/a/daemonsets/d"), "DaemonSets a/d ");
        for path in [
            "/",
            "/api/v2/pods",
            "/api/v1",
            "/api/v1/namespaces/a/nodes",
            "/api/v1/pods/p",
            "/apis/apps/v1/pods",
        ] {
            assert_eq!(read(path), "404", "{path}");
        }
    }

    #[test]
    fn a_request_is_named_in_the_words_of_rbac() {
        let read = |method: &str, path: &str, query: &str| {
            let asked = target(path).unwrap_or_else(|_| panic!("{path}")).asked(method, &Query::parse(query));
            let Asked { verb, group, resource, subresource, namespace, name } = asked;
            format!("{verb} {resource}.{group}/{subresource} {namespace}/{name}")
        };
        for (method, path, query, expected) in [
            ("GET", "/api/v1/nodes", "", "list nodes./ /"),
            ("GET", "/api/v1/nodes", "watch=1&fieldSelector=metadata.name%3Dn1", "watch nodes./ /n1"),
            ("GET", "/api/v1/nodes/n1", "", "get nodes./ /n1"),
            ("GET", "/api/v1/namespaces/a", "", "get namespaces./ a/a"),
            ("PATCH", "/api/v1/nodes/n1/status", "", "patch nodes./status /n1"),
            ("POST", "/api/v1/namespaces/a/pods/p/binding", "", "create pods./binding a/p"),
            ("POST", "/api/v1/namespaces/a/events", "", "create events./ a/"),
            ("PUT", "/apis/apps/v1/namespaces/a/daemonsets/d", "", "update daemonsets.apps/ a/d"),
            ("DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection pods./ a/"),
            ("DELETE", "/api/v1/namespaces/a/pods/p", "", "delete pods./ a/p"),
        ] {
            assert_eq!(read(method, path, query), expected, "{method} {path}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        let query = Query::parse("a=b%3Dc&d=e+f&g=%zz&watch=1");
        assert_eq!(
            [query.text("a"), query.text("d"), query.text("g"), query.text("x")],
            ["b=c", "e f", "%zz", ""]
        );
        assert!(query.is_true("watch") && query.number("a").is_err() && query.number("x") == Ok(None));
    }
}
