//! What somebody may ask about himself: who he is, and whether something would be allowed to him. Everybody may ask.

use serde_json::{Value, json};

use super::error::ApiError;
use super::identity::Identity;
use super::rbac::Asked;
use super::store::Store;

/// Where one asks who he is.
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// Where one asks what he may do.
const MAY_I: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Whether a path is that of a review.
pub(super) fn is_review(path: &str) -> bool {
    matches!(path, WHO_AM_I | MAY_I)
}

/// The answer to a review with this body.
///
/// # Errors
/// 400 when no resource is asked about.
pub(super) fn answer(store: &Store, path: &str, body: &Value, who: &Identity) -> Result<Value, ApiError> {
    if path == WHO_AM_I {
        return Ok(json!({
            "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "status": {"userInfo": who.info()},
        }));
    }
    let attributes = &body["spec"]["resourceAttributes"];
    if !attributes.is_object() {
        return Err(ApiError::bad_request("only `spec.resourceAttributes` can be reviewed"));
    }
    let text = |field: &str| attributes[field].as_str().unwrap_or_default().to_string();
    let asked = Asked {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    };
    Ok(json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": body["spec"], "status": {"allowed": store.may(who, &asked)},
    }))
}
