//! A kubeconfig file for the fake API server, so that a person can point kubectl at a running simulation.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// The name of the cluster, user and context in the file.
pub const CONTEXT: &str = "tandem";

/// The kubeconfig for a server at `url`, for the laboratory itself: without a token. JSON, which is YAML too.
pub fn text(url: &str) -> String {
    written(url, &json!({}))
}

/// The kubeconfig for a server at `url`, for whom a token stands.
pub fn with_token(url: &str, token: &str) -> String {
    written(url, &json!({"token": token}))
}

fn written(url: &str, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT, "preferences": {},
        "clusters": [{"name": CONTEXT, "cluster": {"server": url}}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}],
    });
    format!("{config:#}\n")
}

/// Writes the kubeconfig for a server at `url` to `path`.
///
/// # Errors
/// The file cannot be written; the system's reason.
pub fn write(path: &Path, url: &str) -> io::Result<()> {
    std::fs::write(path, text(url))
}
