//! Any text at all, and generated documents against a second reader.

use proptest::prelude::*;

use super::*;
use crate::config::compose;
use crate::config::keys::KEYS;
use crate::config::scalar::{Meaning, Written, meaning};
use crate::config::tree::{Content, Node};

/// Pieces from which texts are made that come close to a configuration.
fn piece() -> impl Strategy<Value = String> {
    let keys: Vec<String> =
        KEYS.iter().flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned())).collect();
    let syntax = [
        ":", ": ", "\n", "\n  ", "\n    ", "\n- ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "<<: ",
        "!!str ", "\"", "'", "|", ">", "#", "---", "...", "~", "\t", "\u{feff}", "?", "%", "\r\n", "\0",
    ];
    let values = ["v1", "all", "0", "4", "1e9", "-1", "0x10", "yes", "null", "GPU-", "mixed", ".nan", "60s"];
    prop_oneof![
        proptest::sample::select(keys),
        proptest::sample::select(syntax.map(str::to_owned).to_vec()),
        proptest::sample::select(values.map(str::to_owned).to_vec()),
        any::<char>().prop_map(String::from),
    ]
}

/// Settings as a file may hold them, all valid.
fn flags() -> impl Strategy<Value = serde_json::Value> {
    let flag = proptest::option::of(any::<bool>());
    let text = "[ -~]{0,12}|1e3|~|null|true|a: b|# c|é\\n";
    let text = proptest::option::of(text.prop_filter("a word of YAML 1.1 only", |text| both_agree(text)));
    (flag.clone(), text.clone(), flag, text, 0..4_u8, proptest::option::of(0..1_000_000_000_000_i64))
        .prop_map(|(fail, root, specs, prefix, mig, sleep)| {
            let mig = ["none", "single", "mixed"].get(usize::from(mig));
            let sleep = sleep.map(|ns| Interval::Nanoseconds(ns).to_string());
            serde_json::json!({
                "migStrategy": mig, "failOnInitError": fail, "mpsRoot": root,
                "plugin": {"passDeviceSpecs": specs, "cdiAnnotationPrefix": prefix},
                "gfd": {"sleepInterval": sleep},
            })
        })
}

fn sharing() -> impl Strategy<Value = serde_json::Value> {
    let entry = ("[a-z][a-z0-9]{3,20}", 2..=REPLICAS_MAX);
    let resources = proptest::collection::btree_map(entry.0, entry.1, 1..5);
    (any::<bool>(), any::<bool>(), proptest::option::of(any::<bool>()), resources).prop_map(
        |(mps, rename, fail, resources)| {
            let resources: Vec<_> = resources
                .iter()
                .map(|(name, replicas)| serde_json::json!({"name": name, "replicas": replicas}))
                .collect();
            let body = serde_json::json!({
                "renameByDefault": rename, "failRequestsGreaterThanOne": fail, "resources": resources,
            });
            if mps { serde_json::json!({"mps": body}) } else { serde_json::json!({"timeSlicing": body}) }
        },
    )
}

/// Whether a text means the same in YAML 1.2, which serde_yaml writes, as in YAML 1.1: not so `N` or `010`.
fn both_agree(text: &str) -> bool {
    let quoted = serde_yaml::to_string(text).unwrap().starts_with(['"', '\'', '|']);
    quoted || meaning(text, Written::Plain) == Meaning::Text
}

/// A config that says much of what can be said.
const VALID: &str = "\
version: v1
flags: {migStrategy: none, failOnInitError: false, plugin: {deviceListStrategy: [envvar], deviceIDStrategy: uuid}}
sharing:
  mps:
    renameByDefault: true
    failRequestsGreaterThanOne: true
    resources:
    - {name: nvidia.com/gpu, replicas: 4}
";

/// Any JSON document of words and small numbers.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        "[ -~]{0,16}"
            .prop_filter("a word of YAML 1.1 only", |text| both_agree(text))
            .prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-z]{4,8}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Our tree as JSON.
fn as_json(node: &Node) -> serde_json::Value {
    match &node.content {
        Content::Scalar(_, Meaning::Null) => serde_json::Value::Null,
        Content::Scalar(_, Meaning::Bool(value)) => (*value).into(),
        Content::Scalar(_, Meaning::Int(value)) => i64::try_from(*value).unwrap().into(),
        Content::Scalar(_, Meaning::Float(value)) => (*value).into(),
        Content::Scalar(text, Meaning::Text) => text.clone().into(),
        Content::List(items) => items.iter().map(|item| as_json(item)).collect(),
        Content::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.value))).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_and_every_refusal_says_why(pieces in proptest::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        let strict = read("f", &text, Strictness::Strict);
        let lenient = read("f", &text, Strictness::Warn);
        if let Err(problems) = &lenient {
            prop_assert!(problems.list.iter().any(|problem| problem.severity == Severity::Error));
            prop_assert!(strict.is_err(), "strict accepts what lenient refuses: {text}");
        }
        if let (Ok(strict), Ok(lenient)) = (&strict, &lenient) {
            prop_assert_eq!(&strict.config, &lenient.config);
        }
        let problems = strict.map_or_else(|problems| problems.list, |read| read.warnings);
        for problem in problems {
            prop_assert!(problem.line >= 1 && problem.column >= 1);
            prop_assert!(usize::try_from(problem.line).unwrap() <= text.split(['\n', '\r']).count() + 1);
            prop_assert!(!problem.message.is_empty());
        }
    }

    #[test]
    fn no_arbitrary_string_panics(text in any::<String>()) {
        let _ = read("f", &text, Strictness::Strict);
        prop_assert_eq!(read("f", &text, Strictness::Warn), read("f", &text, Strictness::Warn));
    }

    #[test]
    fn neither_arbitrary_bytes_nor_a_mutated_config_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        changes in proptest::collection::vec(any::<(usize, u8, bool)>(), 1..8),
    ) {
        let _ = read("f", &String::from_utf8_lossy(&bytes), Strictness::Strict);
        let mut valid = VALID.as_bytes().to_vec();
        for (at, byte, is_new) in changes {
            let at = at % valid.len();
            if is_new { valid.insert(at, byte) } else { valid[at] = byte }
        }
        let text = String::from_utf8_lossy(&valid);
        let problems = read("f", &text, Strictness::Strict).map_or_else(|p| p.list, |read| read.warnings);
        prop_assert!(problems.iter().all(|problem| problem.line >= 1 && !problem.message.is_empty()));
    }

    #[test]
    fn a_written_config_reads_the_same_as_yaml_and_as_json(flags in flags(), sharing in sharing()) {
        let written = serde_json::json!({"version": "v1", "flags": flags, "sharing": sharing});
        let json = read("f", &written.to_string(), Strictness::Warn).unwrap();
        let yaml = serde_yaml::to_string(&written).unwrap();
        let second = read("f", &yaml, Strictness::Warn).unwrap();
        prop_assert_eq!(&json.config, &second.config, "{}", yaml);
        prop_assert_eq!(json.config.flags.mps_root.as_deref(), written["flags"]["mpsRoot"].as_str());
        let printed = serde_yaml::to_string(&json.config).unwrap();
        prop_assert_eq!(&read("f", &printed, Strictness::Warn).unwrap().config, &json.config);
    }

    #[test]
    fn the_tree_agrees_with_serde_yaml(document in document()) {
        let yaml = serde_yaml::to_string(&document).unwrap();
        let other: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
        let ours = compose::parse(&yaml).unwrap().root.map_or(serde_json::Value::Null, |root| as_json(&root));
        prop_assert_eq!(&ours, &other, "{}", yaml);
    }
}
