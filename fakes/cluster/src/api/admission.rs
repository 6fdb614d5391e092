//! What ValidatingAdmissionPolicies say of a change that roles allow, evaluated as stored (Kubernetes 1.36).
//!
//! Only changes by service accounts are looked at: a client without a token is the laboratory itself. Not here: parameters,
//! `messageExpression`, audit annotations, match policies and selectors; deletions and connections.

use std::collections::HashMap;

use cel::{Context, Program};
use serde_json::{Value, json};

use super::error::ApiError;
use super::identity::Identity;
use super::resource::Resource;
use super::selector::Selector;
use super::store::{Key, Part, Store};

/// A change that is about to be made.
pub(super) struct Change<'c> {
    pub(super) key: &'c Key,
    pub(super) part: Part,
    /// `null` when the object is new.
    pub(super) old: &'c Value,
    pub(super) new: &'c Value,
}

impl Change<'_> {
    fn operation(&self) -> &'static str {
        if self.old.is_null() { "CREATE" } else { "UPDATE" }
    }

    /// Whether a rule of `matchConstraints` means it.
    fn is_meant(&self, rule: &Value) -> bool {
        let has = |field: &str, wanted: &str| {
            rule[field].as_array().is_some_and(|all| all.iter().any(|item| item == wanted || item == "*"))
        };
        let plural = self.key.resource.plural();
        let status = format!("{plural}/status");
        let is_status = self.part == Part::Status;
        has("apiGroups", self.key.resource.group())
            && has("apiVersions", "v1")
            && has("operations", self.operation())
            && has("resources", if is_status { &status } else { plural })
    }
}

impl Store {
    /// Refuses a change that a bound policy denies.
    ///
    /// # Errors
    /// The policy's own code, with policy, binding and message.
    pub(super) fn admit(&self, change: &Change<'_>) -> Result<(), ApiError> {
        let Identity::Account(_) = self.asker() else {
            return Ok(());
        };
        let everything = Selector::everything();
        for binding in self.list(Resource::ValidatingAdmissionPolicyBindings, None, &everything) {
            let actions = binding["spec"]["validationActions"].as_array();
            if !actions.is_some_and(|all| all.iter().any(|action| action == "Deny")) {
                continue;
            }
            let name = binding["spec"]["policyName"].as_str().unwrap_or_default();
            let key = Key::new(Resource::ValidatingAdmissionPolicies, "", name);
            let Ok(policy) = self.get(&key) else { continue };
            if let Err(Denied { reason, message }) = judge(&policy["spec"], change, self.asker()) {
                let bound = binding["metadata"]["name"].as_str().unwrap_or_default();
                let why = format!(
                    "ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {message}"
                );
                return Err(ApiError::denied(change.key.resource, &change.key.name, &reason, &why));
            }
        }
        Ok(())
    }
}

/// Why a policy denies.
struct Denied {
    reason: String,
    message: String,
}

fn judge(spec: &Value, change: &Change<'_>, who: &Identity) -> Result<(), Denied> {
    let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let rules = spec["matchConstraints"]["resourceRules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !rules.iter().any(|rule| change.is_meant(rule)) {
        return Ok(());
    }
    match denial(&list, change, who) {
        Ok(None) => Ok(()),
        Ok(Some(denied)) => Err(denied),
        Err(_) if spec["failurePolicy"] == "Ignore" => Ok(()),
        Err(message) => Err(Denied { reason: "Invalid".to_string(), message }),
    }
}

/// The first validation that does not hold.
///
/// # Errors
/// An expression that cannot be read or evaluated.
fn denial<'v>(
    list: &dyn Fn(&str) -> &'v [Value],
    change: &Change<'_>,
    who: &Identity,
) -> Result<Option<Denied>, String> {
    let mut context = Context::default();
    let request = json!({"userInfo": who.info(), "operation": change.operation(), "name": change.key.name});
    for (name, value) in [("request", &request), ("object", change.new), ("oldObject", change.old)] {
        let value = cel::to_value(value).map_err(|error| error.to_string())?;
        context.add_variable_from_value(name, value);
    }
    for condition in list("matchConditions") {
        if !holds(condition, &context)? {
            return Ok(None);
        }
    }
    let mut known: HashMap<String, cel::Value> = HashMap::new();
    for variable in list("variables") {
        context.add_variable_from_value("variables", known.clone());
        let name = variable["name"].as_str().unwrap_or_default().to_string();
        known.insert(name, evaluate(variable, &context)?);
    }
    context.add_variable_from_value("variables", known);
    for validation in list("validations") {
        if !holds(validation, &context)? {
            let text = |field: &str| validation[field].as_str().map(str::to_string);
            let message = text("message")
                .unwrap_or_else(|| format!("failed expression: {}", text("expression").unwrap_or_default()));
            return Ok(Some(Denied { reason: text("reason").unwrap_or("Invalid".to_string()), message }));
        }
    }
    Ok(None)
}

fn holds(rule: &Value, context: &Context<'_, '_>) -> Result<bool, String> {
    match evaluate(rule, context)? {
        cel::Value::Bool(holds) => Ok(holds),
        other => Err(format!("expression {} is no boolean: {other:?}", rule["expression"])),
    }
}

fn evaluate(rule: &Value, context: &Context<'_, '_>) -> Result<cel::Value, String> {
    let text = rule["expression"].as_str().unwrap_or_default();
    let program = Program::compile(text).map_err(|error| format!("expression '{text}': {error}"))?;
    program.execute(context).map_err(|error| format!("expression '{text}' resulted in error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::Account;
    use crate::api::{PatchKind, Timestamp};

    /// A cluster with a Node, and a policy that accounts may write only their own Node, and there no label but `own`.
    fn cluster(policy_changes: &[(&str, Value)]) -> Store {
        let (mut store, now) = (Store::default(), Timestamp::now());
        store.create_namespaces(now).unwrap();
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["UPDATE"], "resources": ["nodes"]}]},
            "matchConditions": [{"name": "who", "expression": "request.userInfo.username.startsWith('system:serviceaccount:ns:')"}],
            "variables": [
                {"name": "node", "expression": "'authentication.kubernetes.io/node-name' in request.userInfo.extra ? \
                    request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''"},
                {"name": "labels", "expression": "has(object.metadata.labels) ? object.metadata.labels : {}"},
                {"name": "isOwn", "expression": "variables.node == object.metadata.name"},
            ],
            "validations": [
                {"expression": "variables.isOwn", "message": "not its own", "reason": "Forbidden"},
                {"expression": "variables.labels.all(key, key == 'own')"},
            ],
        }});
        for (pointer, value) in policy_changes {
            *policy.pointer_mut(pointer).unwrap() = value.clone();
        }
        let binding =
            json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        for (resource, object) in [
            (Resource::Nodes, json!({"metadata": {"name": "n1"}})),
            (Resource::ValidatingAdmissionPolicies, policy),
            (Resource::ValidatingAdmissionPolicyBindings, binding),
        ] {
            store.create(resource, "", object, now).unwrap();
        }
        store
    }

    fn account(node: &str) -> Identity {
        let node = Some(node.to_string());
        Identity::Account(Account { namespace: "ns".into(), name: "a".into(), node })
    }

    fn labelled(store: &mut Store, who: &Identity, part: Part, label: &str) -> Result<(), ApiError> {
        let patch = json!({"metadata": {"labels": {label: "x"}}});
        let key = Key::node("n1");
        store
            .asked_by(who, |store| store.patch(&key, PatchKind::Merge, &patch, part, Timestamp::now()))
            .map(drop)
    }

    #[test]
    fn a_policy_denies_what_does_not_hold_and_looks_only_at_what_it_is_for() {
        let other = Identity::Account(Account { namespace: "x".into(), name: "a".into(), node: None });
        for (who, part, label, code) in [
            (account("n1"), Part::Main, "own", None),
            (account("n1"), Part::Main, "theirs", Some(422)),
            (account("n2"), Part::Main, "own", Some(403)),
            (account("n2"), Part::Status, "theirs", None),
            (other, Part::Main, "theirs", None),
            (Identity::Admin, Part::Main, "theirs", None),
        ] {
            let denied = labelled(&mut cluster(&[]), &who, part, label).err();
            assert_eq!(denied.as_ref().map(|denied| denied.code), code, "{who:?} {label}: {denied:?}");
        }
        let denied = labelled(&mut cluster(&[]), &account("n2"), Part::Main, "own").unwrap_err();
        assert_eq!(
            denied.message,
            "nodes \"n1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not its own"
        );
    }

    #[test]
    fn an_expression_that_fails_denies_unless_failures_are_ignored() {
        let wrong = ("/spec/validations/0/expression", json!("object.metadata.nothing.more"));
        let denied = labelled(&mut cluster(std::slice::from_ref(&wrong)), &account("n1"), Part::Main, "own")
            .unwrap_err();
        assert!(denied.message.contains("resulted in error"), "{denied}");
        let ignored = ("/spec/failurePolicy", json!("Ignore"));
        assert_eq!(labelled(&mut cluster(&[wrong, ignored]), &account("n1"), Part::Main, "own"), Ok(()));
    }

    #[test]
    fn after_a_request_the_laboratory_asks_again() {
        let mut store = cluster(&[]);
        assert!(labelled(&mut store, &account("n2"), Part::Main, "own").is_err());
        assert_eq!(store.asker(), &Identity::Admin);
    }
}
