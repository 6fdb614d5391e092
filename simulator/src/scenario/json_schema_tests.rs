//! The schema against the repository's own files: all of them fit, and mistakes do not.

use std::path::{Path, PathBuf};

use super::*;
use crate::scenario::yaml;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");

/// As much of a validator as the schema needs: what is wrong first, if anything.
fn wrong(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/definitions/").unwrap();
        return wrong(root, &root["definitions"][name], value);
    }
    let any = |list: &Value| {
        let list = list.as_array().unwrap();
        list.iter().filter(|schema| wrong(root, schema, value).is_none()).count()
    };
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|schema| wrong(root, schema, value));
    }
    if schema.get("anyOf").is_some() && any(&schema["anyOf"]) == 0 {
        return Some(format!("none fits: {value}"));
    }
    if schema.get("oneOf").is_some() && any(&schema["oneOf"]) != 1 {
        return Some(format!("not exactly one fits: {value}"));
    }
    let sorts: Vec<&str> = match &schema["type"] {
        Value::String(sort) => vec![sort],
        Value::Array(sorts) => sorts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |sort: &&str| match *sort {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        _ => value.is_boolean(),
    };
    if !sorts.is_empty() && !sorts.iter().any(is) {
        return Some(format!("expected {sorts:?}, found {value}"));
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        return Some(format!("expected one of {known:?}, found {value}"));
    }
    if let Some(object) = value.as_object() {
        let needed = schema["required"].as_array().into_iter().flatten();
        for name in needed.filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return Some(format!("`{name}` is missing in {value}"));
            }
        }
        for (name, inner) in object {
            let found = match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => Some(format!("unknown key `{name}`")),
                (Value::Null, Value::Null) => None,
                (Value::Null, others) => wrong(root, others, inner),
                (known, _) => wrong(root, known, inner),
            };
            if found.is_some() {
                return found;
            }
        }
    }
    let items = value.as_array().into_iter().flatten();
    match &schema["items"] {
        Value::Null => None,
        each => items.into_iter().find_map(|item| wrong(root, each, item)),
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_scenario_of_the_repository_fits_the_schema() {
    let schema = schema();
    // what scenarios name lies deeper: manifests, for example
    let is_scenario = |file: &PathBuf| file.ancestors().nth(2) == Some(SCENARIOS.as_ref());
    let files: Vec<PathBuf> = files(SCENARIOS.as_ref()).into_iter().filter(is_scenario).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let name = file.display().to_string();
        let json = yaml::parse(&name, &std::fs::read_to_string(&file).unwrap()).unwrap().to_json();
        assert_eq!(wrong(&schema, &schema, &json), None, "{name}");
    }
}

#[test]
fn mistakes_do_not_fit_the_schema() {
    let good = json!({"story": "s", "nodes": [{"name": "n"}], "steps": [{"wait": "1s"}]});
    let schema = schema();
    assert_eq!(wrong(&schema, &schema, &good), None);
    for (pointer, value, expected) in [
        ("/steps/0", json!({"wiat": "1s"}), "wiat"),
        ("/steps/0", json!({"wait": "1s", "advance": "1s"}), "not exactly one"),
        ("/steps/0", json!({"fault": {"kind": "gpuLots"}}), "gpuLots"),
        ("/steps/0", json!({"expect": {"nodes": {"n": {"redy": true}}}}), "none fits"),
        ("/nodes/0", json!({"count": 2}), "`name` is missing"),
        ("/story", json!(4), "expected"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let found = wrong(&schema, &schema, &bad).unwrap_or_else(|| panic!("{bad} fits"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn the_checked_in_schema_is_current() {
    let text = std::fs::read_to_string(Path::new(SCENARIOS).join("schema.json")).unwrap();
    let checked_in: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        checked_in,
        schema(),
        "make it again: cargo run -p simulator -- schema > scenarios/schema.json"
    );
}
