//! The JSON schema of scenario files, made from the tables that the reader itself uses, so that editors know what `lint`
//! knows.

use serde_json::{Map, Value, json};

use super::grammar::{self, Key, Sort};
use super::limits;
use super::schema::StageName;
use super::verbs::FAULTS;
use crate::expect::OPERATORS;
use crate::invariants::Invariant;
use crate::world::{
    GPU_FIELDS, KUBELET_FIELDS, MEMORY_FIELDS, MPS_FIELDS, NODE_FIELDS, OTHER_PLUGIN_FIELDS, PLUGIN_FIELDS,
    POD_FIELDS,
};

/// The schema, as the JSON Schema draft that editors read.
pub fn schema() -> Value {
    let mut root = mapping(grammar::TOP);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Tandem scenario");
    root["description"] = json!("One file, one story. The reference is scenarios/README.md.");
    root["definitions"] = json!({
        "steps": {"type": "array", "minItems": 1, "maxItems": limits::STEPS_MAX, "items": step()},
        "duration": {
            "type": "string",
            "pattern": r"^(\$\{.+\}|[0-9]+(\.[0-9]+)?(ms|s|m|h))$",
        },
        "pattern": pattern(),
        "node": fields(
            NODE_FIELDS,
            &[
                ("plugin", "plugin"),
                ("mps", "mps"),
                ("gpus", "gpus"),
                ("kubelet", "kubelet"),
                ("otherPlugins", "otherPlugins"),
            ],
        ),
        "pod": fields(POD_FIELDS, &[]),
        "plugin": fields(PLUGIN_FIELDS, &[]),
        "mps": fields(MPS_FIELDS, &[]),
        "kubelet": fields(KUBELET_FIELDS, &[]),
        "otherPlugins": {"type": "object", "additionalProperties": fields(OTHER_PLUGIN_FIELDS, &[])},
        "memory": fields(MEMORY_FIELDS, &[]),
        "gpu": fields(GPU_FIELDS, &[("memory", "memory")]),
        "gpus": {"anyOf": [
            {"type": "array", "items": reference("gpu")},
            {"type": "object", "properties": {"each": reference("gpu"), "contains": reference("gpu")}},
        ]},
    });
    root["x-limits"] = limits::all()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<Map<_, _>>()
        .into();
    root
}

/// A mapping with known keys.
fn mapping(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let needed: Vec<&str> = keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    let mut object = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !needed.is_empty() {
        object["required"] = json!(needed);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut value = match key.sort {
        // the sections of a pattern differ by their names
        Sort::Pattern => match key.name {
            "nodes" => json!({"type": "object", "additionalProperties": reference("node")}),
            "pods" => json!({"type": "object", "additionalProperties": reference("pod")}),
            _ => reference("pattern"),
        },
        sort => self::sort(sort),
    };
    // a sibling of `$ref` is ignored by the draft, so a reference is wrapped
    if value.get("$ref").is_some() {
        value = json!({"allOf": [value]});
    }
    value["description"] = json!(key.about);
    value
}

fn sort(sort: Sort) -> Value {
    let list = |items: Value| json!({"type": "array", "items": items});
    let named = |values: Value| json!({"type": "object", "additionalProperties": values});
    let words = |words: &[&str]| json!({"type": "string", "enum": words});
    match sort {
        Sort::Text => json!({"type": "string"}),
        Sort::Texts => list(json!({"type": "string"})),
        Sort::TextMap => named(json!({"type": "string"})),
        Sort::Number(least, most) => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            parameter(),
        ]}),
        Sort::Numbers => list(json!({"type": "integer", "minimum": 0})),
        Sort::Share => json!({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, parameter()]}),
        Sort::Duration => reference("duration"),
        Sort::Word(known) => words(known),
        Sort::Words(known) => list(words(known)),
        Sort::Map(keys) => mapping(keys),
        Sort::Maps(keys) => list(mapping(keys)),
        Sort::Named(keys) => named(mapping(keys)),
        Sort::Config => named(json!({"anyOf": [{"type": "string"}, mapping(grammar::CONFIG_FILE)]})),
        Sort::ByStage => {
            let reasons = StageName::NAMES.iter();
            let reasons: Map<_, _> =
                reasons.map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
            json!({"type": "object", "properties": reasons, "additionalProperties": false})
        }
        Sort::Scalars => named(json!({"type": ["string", "number", "boolean"]})),
        Sort::Curve => json!({"anyOf": [
            {"type": "array", "maxItems": limits::CURVE_POINTS_MAX, "items": {"type": "array", "minItems": 2, "maxItems": 2}},
            {"type": "integer", "minimum": 0},
            mapping(grammar::RAMP),
            mapping(grammar::CURVE_FILE),
        ]}),
        Sort::Manifest => json!({"anyOf": [
            {"type": "object", "required": ["apiVersion", "kind", "metadata"]},
            {"type": "string"},
        ]}),
        Sort::Board => {
            let boards = crate::boards::names();
            json!({"anyOf": [{"type": "string", "enum": boards}, parameter()]})
        }
        Sort::Fault => words(&FAULTS.iter().map(|entry| entry.kind).collect::<Vec<_>>()),
        Sort::Invariants => list(words(&Invariant::ALL.iter().map(|(_, name, _)| *name).collect::<Vec<_>>())),
        Sort::Steps => reference("steps"),
        Sort::Mig => {
            let layout = list(json!({"type": "string"}));
            json!({"anyOf": [layout, {"type": "object", "additionalProperties": layout}]})
        }
        Sort::Pattern => reference("pattern"),
    }
}

/// A place where `${name}` stands for a value.
fn parameter() -> Value {
    json!({"type": "string", "pattern": r"^\$\{.+\}$"})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

/// A step: a name at most, and exactly one verb.
fn step() -> Value {
    let mut step = mapping(grammar::STEP);
    let verbs = grammar::STEP.iter().filter(|key| key.name != "name");
    let one: Vec<Value> = verbs.map(|key| json!({"required": [key.name]})).collect();
    step["oneOf"] = json!(one);
    step
}

/// Any pattern: a scalar, a list, operators, or names.
fn pattern() -> Value {
    let operators: Map<String, Value> =
        OPERATORS.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    json!({"anyOf": [
        {"type": ["string", "number", "boolean"]},
        {"type": "array", "items": reference("pattern")},
        {"type": "object", "minProperties": 1, "properties": operators, "additionalProperties": false},
        {"type": "object", "minProperties": 1, "additionalProperties": reference("pattern")},
    ]})
}

/// A mapping of known fields, or operators.
fn fields(known: &[&str], special: &[(&str, &str)]) -> Value {
    let one = |name: &&str| {
        let special = special.iter().find(|(field, _)| field == name);
        let value = special.map_or(reference("pattern"), |(_, definition)| reference(definition));
        ((*name).to_owned(), value)
    };
    let names: Map<String, Value> = known.iter().map(one).collect();
    let operators: Map<String, Value> =
        OPERATORS.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    json!({"anyOf": [
        {"type": "object", "properties": names, "additionalProperties": false},
        {"type": "object", "properties": operators, "additionalProperties": false},
    ]})
}

#[cfg(test)]
#[path = "json_schema_tests.rs"]
mod tests;
