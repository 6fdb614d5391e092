//! Refusals of the API server, because clients such as kubectl act on their code, reason and text:
//! an [`ApiError`] is what Kubernetes calls a `Status` object of kind Failure.

use serde_json::{Value, json};

use super::resource::{Resource, with_group};

/// One refused request, in the terms of the Kubernetes API conventions (code, reason, message, details).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// The text a person reads.
    pub message: String,
    /// The `details` of the `Status` object; `null` when there are none.
    pub details: Value,
}

/// One field that a validation refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `spec.containers[0].name`.
    pub field: String,
    /// The cause's reason, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// What is wrong, without the path.
    pub message: String,
}

impl FieldError {
    /// The value of `field` is not acceptable, and `why`.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl AsRef<str>) -> FieldError {
        let message = format!("Invalid value: {value}: {}", why.as_ref());
        FieldError { field: field.into(), reason: "FieldValueInvalid", message }
    }

    /// `field` is missing; `hint` may be empty.
    pub fn required(field: impl Into<String>, hint: &str) -> FieldError {
        let tail = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        FieldError {
            field: field.into(),
            reason: "FieldValueRequired",
            message: format!("Required value{tail}"),
        }
    }

    /// `field` may not be set or changed, and `why`.
    pub fn forbidden(field: impl Into<String>, why: &str) -> FieldError {
        FieldError {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
        }
    }

    /// `value` occurs twice where it may occur once.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError {
            field: field.into(),
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
        }
    }
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: String, details: Value) -> ApiError {
        ApiError { code, reason, message, details }
    }

    /// 404: there is no object `name`.
    pub fn not_found(resource: Resource, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message, details(resource, name))
    }

    /// 404: the path names nothing this server has.
    pub fn no_such_path() -> ApiError {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource".to_string(),
            Value::Null,
        )
    }

    /// 409: an object `name` exists already.
    pub fn already_exists(resource: Resource, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message, details(resource, name))
    }

    /// 409: the object was changed in the meantime, or `why` says what else collides.
    pub fn conflict(resource: Resource, name: &str, why: &str) -> ApiError {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message, details(resource, name))
    }

    /// 422: the listed fields are not acceptable; `errors` is never empty.
    pub fn invalid(resource: Resource, name: &str, errors: &[FieldError]) -> ApiError {
        let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
            .collect();
        let message = format!("{} \"{name}\" is invalid: {list}", resource.qualified_kind());
        let details =
            json!({"name": name, "group": resource.group(), "kind": resource.kind(), "causes": causes});
        Self::new(422, "Invalid", message, details)
    }

    /// 400: the request itself cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        Self::new(400, "BadRequest", message.into(), Value::Null)
    }

    /// 401: a token that this server does not know.
    pub fn unauthorized() -> ApiError {
        Self::new(401, "Unauthorized", "Unauthorized".to_string(), Value::Null)
    }

    /// 403: understood and refused.
    pub fn forbidden(resource: Resource, name: &str, why: &str) -> ApiError {
        Self::not_allowed(resource.group(), resource.plural(), name, why)
    }

    /// 403, for a resource that this server may not have; `name` is empty where no object is named.
    pub fn not_allowed(group: &str, plural: &str, name: &str, why: &str) -> ApiError {
        let qualified = with_group(plural, group);
        let (subject, details) = match name {
            "" => (qualified, json!({"group": group, "kind": plural})),
            name => {
                (format!("{qualified} \"{name}\""), json!({"name": name, "group": group, "kind": plural}))
            }
        };
        Self::new(403, "Forbidden", format!("{subject} is forbidden: {why}"), details)
    }

    /// A policy denies it; `reason` is the policy's word (Kubernetes 1.36: these four).
    pub fn denied(resource: Resource, name: &str, reason: &str, why: &str) -> ApiError {
        let (code, reason) = match reason {
            "Unauthorized" => (401, "Unauthorized"),
            "Forbidden" => (403, "Forbidden"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        };
        ApiError { code, reason, ..Self::forbidden(resource, name, why) }
    }

    /// 405: this resource has no such verb.
    pub fn method_not_allowed() -> ApiError {
        let message = "the server does not allow this method on the requested resource".to_string();
        Self::new(405, "MethodNotAllowed", message, Value::Null)
    }

    /// 410: the asked resource version `asked` is older than `oldest`, the oldest one still known.
    pub fn expired(asked: u64, oldest: u64) -> ApiError {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(410, "Expired", message, Value::Null)
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> ApiError {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message, Value::Null)
    }

    /// 415: the body has a media type this server does not read.
    pub fn unsupported_media_type(got: &str) -> ApiError {
        let message = format!(
            "the body of the request was in an unknown format `{got}` - accepted media types include: application/json"
        );
        Self::new(415, "UnsupportedMediaType", message, Value::Null)
    }

    /// 429: told to come back after a while; also used where a named bound of the store is reached.
    pub fn too_many_requests(why: &str) -> ApiError {
        Self::new(429, "TooManyRequests", why.to_string(), json!({"retryAfterSeconds": 1}))
    }

    /// 500: a fault played on purpose.
    pub fn internal(why: &str) -> ApiError {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}"), Value::Null)
    }

    /// The `Status` object that goes over the wire.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn details(resource: Resource, name: &str) -> Value {
    json!({"name": name, "group": resource.group(), "kind": resource.plural()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_field_reads_as_kubernetes_writes_it() {
        let error = FieldError::invalid("metadata.labels", &json!("a b"), "bad");
        let got = ApiError::invalid(Resource::Nodes, "n1", &[error]);
        assert_eq!(got.message, "Node \"n1\" is invalid: metadata.labels: Invalid value: \"a b\": bad");
        assert_eq!(got.to_status()["details"]["causes"][0]["field"], "metadata.labels");
        assert_eq!(got.to_status()["code"], 422);
    }

    #[test]
    fn an_object_of_a_named_group_is_reported_with_its_group() {
        assert_eq!(
            ApiError::not_found(Resource::Deployments, "web").message,
            "deployments.apps \"web\" not found"
        );
    }
}
