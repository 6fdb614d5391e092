//! The taints of a Node as the plugin's watch tells them, and what becomes of a change that it asks for.

use fake_cluster::api::ApiError;
use plugin_core::event::Event;
use plugin_core::taints::{NOTE, Taint};
use serde_json::{Value, json};

/// A Node's taints, and the plugin's note about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeTaints {
    taints: Vec<Taint>,
    note: Option<String>,
}

impl NodeTaints {
    /// As they stand in the object.
    pub(super) fn of(object: &Value) -> NodeTaints {
        let taints = object["spec"]["taints"].as_array().into_iter().flatten().map(taint).collect();
        let note = object["metadata"]["annotations"][NOTE].as_str().map(str::to_owned);
        NodeTaints { taints, note }
    }

    /// As the plugin hears of them.
    pub(super) fn told(&self) -> Event {
        Event::TaintsRead { taints: self.taints.clone(), note: self.note.clone() }
    }
}

fn taint(object: &Value) -> Taint {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    Taint { key: text("key"), value: text("value"), effect: text("effect") }
}

/// A change of a Node's taints on its way to the API server.
#[derive(Debug)]
pub(super) struct TaintChange {
    /// As the plugin saw them.
    pub(super) before: Vec<Taint>,
    /// As they should be.
    pub(super) after: Vec<Taint>,
    /// The note about them.
    pub(super) note: Option<String>,
}

impl TaintChange {
    /// The patch of an object whose taints are still as the plugin saw them. In production the object is read and then
    /// written with its version; here nothing comes between.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn patch(&self, object: &Value) -> Result<Value, ApiError> {
        if NodeTaints::of(object).taints != self.before {
            return Err(ApiError::bad_request("its taints have changed meanwhile"));
        }
        let there: Vec<&Value> = object["spec"]["taints"].as_array().into_iter().flatten().collect();
        let kept =
            |wanted: &Taint| there.iter().find(|object| taint(object) == *wanted).map(|o| (*o).clone());
        let plain = |t: &Taint| match t.value.as_str() {
            "" => json!({"key": t.key, "effect": t.effect}),
            value => json!({"key": t.key, "value": value, "effect": t.effect}),
        };
        let after: Vec<Value> = self.after.iter().map(|t| kept(t).unwrap_or_else(|| plain(t))).collect();
        Ok(json!({"metadata": {"annotations": {NOTE: self.note}}, "spec": {"taints": after}}))
    }
}
