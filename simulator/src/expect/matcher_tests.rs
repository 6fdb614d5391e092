//! Tables for the matcher and the mutants: what matches, what does not, and that no leaf is vacuous.

use serde_json::{Value, json};

use super::super::{decode, mutants};
use super::*;
use crate::scenario::{decode::Reader, yaml};

fn pattern(text: &str) -> Pattern {
    let node = yaml::parse("f.yaml", text).unwrap();
    let mut reader = Reader::new("f.yaml");
    let pattern = decode::pattern(&mut reader, &node, "expect");
    assert_eq!(reader.into_problems(), []);
    pattern.unwrap()
}

fn world() -> Value {
    json!({
        "nodes": {"n1": {
            "ready": true,
            "labels": {"nvidia.com/gpu.replicas": "4"},
            "allocatable": {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 16},
            "gpus": [{"uuid": "GPU-a", "holders": ["p-1", "p-2"]}, {"uuid": "GPU-b", "holders": []}],
        }},
        "pods": {
            "p-1": {"node": "n1", "gpus": ["GPU-a"], "env": {"V": "GPU-a"}, "message": "one two one"},
            "p-2": {"node": "n1", "gpus": ["GPU-a"], "env": {"V": "GPU-a"}, "message": "two"},
        },
    })
}

fn matches(text: &str) -> bool {
    let memory = Memory::from([("before".to_owned(), world())]);
    check(&pattern(text), &world(), &memory).is_empty()
}

const TRUE: &[&str] = &[
    "nodes: {n1: {ready: true}}",
    "nodes: {n1: {allocatable: {nvidia.com/gpu.shared: 16}}}",
    "nodes: {n1: {labels: {nvidia.com/gpu.replicas: '4'}}}",
    "nodes: {n1: {labels: {other: {absent: true}}}}",
    "nodes: {n1: {labels: {absent: false}}}",
    "nodes: {n1: {gpus: {size: 2}}}",
    "nodes: {n1: {gpus: {size: {atLeast: 1, atMost: 2}}}}",
    "nodes: {n1: {gpus: {each: {uuid: {matches: 'GPU-?'}}}}}",
    "nodes: {n1: {gpus: {contains: {uuid: GPU-b, holders: []}}}}",
    "nodes: {n1: {gpus: {1: {uuid: GPU-b}}}}",
    "nodes: {n1: {gpus: {0: {holders: [p-1, p-2]}}}}",
    "pods: {p-*: {node: n1, gpus: {size: 1}}}",
    "pods: {q-*: {absent: true}}",
    "pods: {p-1: {env: {exactly: {V: '${.gpus.0}'}}}}",
    "pods: {p-2: {message: {contains: w}, env: {V: {sameAs: nodes.n1.gpus.0.uuid}}}}",
    "pods: {p-1: {message: {containsOnce: two}}}",
    "pods: {p-1: {env: {V: {differentFrom: nodes.n1.gpus.1.uuid}}}}",
    "pods: {p-*: {unchangedSince: before}}",
    "nodes: {n1: {gpus: {each: {uuid: {unchangedSince: before}}}}}",
];

#[test]
fn true_expectations_match() {
    for text in TRUE {
        assert!(matches(text), "{text}");
    }
}

#[test]
fn false_expectations_do_not_match() {
    for text in [
        "nodes: {n1: {ready: false}}",
        "nodes: {n2: {ready: true}}",
        "nodes: {n1: {labels: {nvidia.com/gpu.replicas: 4}}}",
        "nodes: {n1: {labels: {absent: true}}}",
        "nodes: {n1: {gpus: {size: {atMost: 1}}}}",
        "nodes: {n1: {gpus: {each: {holders: {size: 2}}}}}",
        "nodes: {n1: {gpus: {contains: {uuid: GPU-c}}}}",
        "nodes: {n1: {gpus: {2: {uuid: GPU-b}}}}",
        "nodes: {n1: {gpus: []}}",
        "nodes: {n1: {allocatable: {exactly: {nvidia.com/gpu: 0}}}}",
        "nodes: {n1: {allocatable: {exactly: {nvidia.com/gpu: 0, nvidia.com/gpu.shared: 16, x: 1}}}}",
        "pods: {q-*: {node: n1}}",
        "pods: {p-*: {message: two}}",
        "pods: {p-1: {message: {containsOnce: one}}}",
        "pods: {p-1: {message: {matches: 'one'}}}",
        "pods: {p-1: {message: {changedSince: before}}}",
        "pods: {p-1: {message: {unchangedSince: never-happened}}}",
        "pods: {p-1: {message: {atLeast: 0}}}",
        "pods: {p-1: {env: {V: '${.gpus.9}'}}}",
        "nodes: {n1: {gpus: {0: {holders: {each: {contains: q}}}}}}",
        "nodes: {n1: {gpus: {1: {holders: {each: x}}}}}",
    ] {
        assert!(!matches(text), "{text}");
    }
}

#[test]
fn every_leaf_of_a_true_expectation_matters() {
    let memory = Memory::from([("before".to_owned(), world())]);
    for text in TRUE {
        let all = mutants(&pattern(text));
        assert!(!all.is_empty(), "{text}");
        for mutant in all {
            let found = check(&mutant.pattern, &world(), &memory);
            assert!(!found.is_empty(), "{text}: spoiling {} went unnoticed", mutant.path);
            assert!(
                found.iter().any(|m| m.path.contains(&mutant.name) || mutant.name.contains('*')),
                "{found:?}"
            );
        }
    }
}

#[test]
fn a_difference_names_the_concrete_path_behind_a_glob() {
    let found = check(&pattern("pods: {p-*: {message: two}}"), &world(), &Memory::new());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "pods.p-1.message");
    assert_eq!(found[0].actual, Some(json!("one two one")));
}

#[test]
fn keys_that_are_too_many_are_named() {
    let found = check(
        &pattern("nodes: {n1: {allocatable: {exactly: {nvidia.com/gpu: 0}}}}"),
        &world(),
        &Memory::new(),
    );
    assert_eq!(found[0].note.as_deref(), Some("too many: nvidia.com/gpu.shared"));
}

#[test]
fn globs_cover_whole_texts_only() {
    for (pattern, text, covers) in [
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("*b*b*", "abab", true),
        ("?", "", false),
        ("a?c", "abc", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(glob(pattern, text), covers, "{pattern} {text}");
    }
}
