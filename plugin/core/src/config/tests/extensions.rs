//! What the format has beyond NVIDIA's: read, refused where its effect is not built, and listed in the JSON schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::config::keys::KEYS;
use crate::config::not_built::NOT_BUILT;

#[test]
fn every_extension_reaches_its_place() {
    let text = mps_entry(
        "{name: gpu, replicas: auto, memoryPerReplica: 8Gi, allocationPolicy: packed, activeThreadPercentage: 40, pinnedMemoryLimit: 1073741824}",
    );
    let full = config(&text);
    let entry = &full.sharing.mps.as_ref().unwrap().resources[0];
    assert_eq!(entry.replicas, Replicas::Auto);
    assert_eq!(entry.memory_per_replica.map(|m| m.to_string()).as_deref(), Some("8Gi"));
    assert_eq!(entry.allocation_policy, Some(AllocationPolicy::Packed));
    assert_eq!(entry.active_thread_percentage, Some(40));
    assert_eq!(entry.pinned_memory_limit.map(Memory::mib), Some(1024));
    let printed = serde_yaml::to_string(&full).unwrap();
    assert_eq!(config(&printed), full, "{printed}");
}

#[test]
fn a_file_without_extensions_prints_none() {
    let printed = serde_json::to_string(&config(&mps_entry("{name: gpu, replicas: 4}"))).unwrap();
    for key in
        ["memoryPerReplica", "allocationPolicy", "activeThreadPercentage", "pinnedMemoryLimit", "interval"]
    {
        assert!(!printed.contains(key), "{printed}");
    }
}

#[test]
fn wrong_values_of_extensions_are_refused_in_their_place() {
    let rows = [
        (
            "memoryPerReplica: 8",
            "4:50: `sharing.mps.resources[0].memoryPerReplica` must be an amount of memory",
        ),
        (
            "memoryPerReplica: 8GB",
            "must be an amount of memory of at least `1Mi`, such as `8Gi`, but is text `8GB`",
        ),
        ("memoryPerReplica: -1", "must be an amount of memory"),
        ("memoryPerReplica: [8Gi]", "must be an amount of memory"),
        ("memoryPerReplica: 1e30", "must be an amount of memory"),
        ("pinnedMemoryLimit: yes", "must be an amount of memory"),
        ("activeThreadPercentage: 0", "must be a percentage from 1 to 100, but is a number `0`"),
        ("activeThreadPercentage: 101", "must be a percentage from 1 to 100"),
        ("activeThreadPercentage: 12.5", "must be a whole number"),
        ("activeThreadPercentage: 40%", "must be a whole number"),
        ("allocationPolicy: spread", "must be one of `distributed`, `packed`, but is `spread`"),
    ];
    for (entry, expected) in rows {
        let problems = refused(&mps_entry(&format!("{{name: gpu, replicas: 2, {entry}}}")));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{entry}: {problems:?}");
    }
    let lonely = refused(&mps_entry("{name: gpu, replicas: auto}"));
    assert_eq!(
        lonely,
        [
            "4:29: `sharing.mps.resources[0].replicas` is `auto`, but there is no `memoryPerReplica` to divide the memory by (hint: add for example `memoryPerReplica: 8Gi`)"
        ]
    );
    let null = refused(&mps_entry("{name: gpu, replicas: auto, memoryPerReplica: null}"));
    assert_eq!(null.len(), 1);
    let wrong = refused(&mps_entry("{name: gpu, replicas: auto, memoryPerReplica: x}"));
    assert!(wrong.len() == 1 && wrong[0].contains("amount of memory"), "{wrong:?}");
}

#[test]
fn the_taint_of_shared_nodes_has_defaults_and_wrong_ones_are_refused_in_their_place() {
    let taint = |text: &str| config(&format!("sharing: {{taint: {text}}}")).sharing.taint;
    let default = Taint::default();
    assert_eq!(taint("{}"), Some(default.clone()));
    assert_eq!(taint("null"), None);
    assert_eq!(taint("{value: \"\"}"), Some(Taint { value: String::new(), ..default.clone() }));
    let soft = Taint { key: "shared".into(), effect: TaintEffect::PreferNoSchedule, ..default };
    assert_eq!(taint("{key: shared, effect: PreferNoSchedule}"), Some(soft));
    let rows = [
        ("yes", "1:18: `sharing.taint` must be a mapping"),
        ("{key: a b}", "1:24: `sharing.taint.key` must be a name of at most 63"),
        ("{key: /a}", "`sharing.taint.key` must be a name"),
        ("{key: A/a}", "`sharing.taint.key` must be a name"),
        ("{key: \"\"}", "`sharing.taint.key` must be a name"),
        ("{key: node.kubernetes.io/x}", "keys of `kubernetes.io` are not for taints"),
        ("{key: tandem.dev/x}", "keys of `tandem.dev` are not for taints"),
        (
            "{value: true}",
            "1:26: `sharing.taint.value` must be text, but is a boolean `true` (hint: put it in quotes)",
        ),
        ("{value: -a}", "`sharing.taint.value` must be at most 63"),
        ("{effect: NoExecute}", "`NoExecute`, which would end running pods (hint: use `NoSchedule`)"),
        ("{effect: noschedule}", "must be one of `NoSchedule`, `PreferNoSchedule`"),
    ];
    for (text, expected) in rows {
        let problems = refused(&format!("sharing: {{taint: {text}}}"));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
    }
    let full = config("sharing: {taint: {key: a.b/c}}");
    assert_eq!(config(&serde_yaml::to_string(&full).unwrap()), full);
}

#[test]
fn limits_of_mps_clients_do_not_belong_under_time_slicing() {
    for key in ["activeThreadPercentage: 40", "pinnedMemoryLimit: 1Gi"] {
        let text = mps_entry(&format!("{{name: gpu, replicas: 2, {key}}}")).replace("mps", "timeSlicing");
        let problems = strict(&text);
        assert!(
            problems.len() == 1 && problems[0].contains("belongs under `sharing.mps.resources[]`"),
            "{problems:?}"
        );
        assert_eq!(lenient(&text).1.len(), 1, "as any unknown key");
    }
}

#[test]
fn the_interval_of_time_slicing_is_one_of_four_words_also_as_the_dra_driver_writes_them() {
    let entry = |interval: &str| {
        mps_entry(&format!("{{name: gpu, replicas: 2, interval: {interval}}}")).replace("mps", "timeSlicing")
    };
    let read =
        |interval: &str| config(&entry(interval)).sharing.time_slicing.unwrap().resources[0].time_slice;
    for word in [TimeSlice::Default, TimeSlice::Short, TimeSlice::Medium, TimeSlice::Long] {
        let capitalised = format!("{}{}", word.as_str()[..1].to_uppercase(), &word.as_str()[1..]);
        assert_eq!([read(word.as_str()), read(&capitalised)], [Some(word); 2]);
    }
    assert_eq!(read("null"), None);
    let full = config(&entry("Short"));
    assert_eq!(config(&serde_yaml::to_string(&full).unwrap()), full);
    let place = "4:42: `sharing.timeSlicing.resources[0].interval`";
    let rows = [
        (
            "shrt",
            "must be one of `default`, `short`, `medium`, `long`, but is `shrt` (hint: did you mean `short`?)",
        ),
        ("SHORT", "must be one of `default`, `short`, `medium`, `long`, but is `SHORT`"),
        ("1", "must be text, but is a number `1` (hint: put it in quotes)"),
        ("2ms", "must be one of"),
        ("[short]", "must be text, but is a list"),
        ("\"\"", "must be one of"),
        ("é", "must be one of"),
    ];
    for (interval, expected) in rows {
        let problems = refused(&entry(interval));
        let told = problems.len() == 1 && problems[0].starts_with(place) && problems[0].contains(expected);
        assert!(told, "{interval}: {problems:?}");
    }
    let elsewhere = strict(&entry("short").replace("timeSlicing", "mps"));
    assert!(elsewhere[0].contains("belongs under `sharing.timeSlicing.resources[]`"), "{elsewhere:?}");
}

#[test]
fn a_key_whose_effect_is_not_built_is_refused_with_that_reason_even_without_strict_validation() {
    for (parent, key, why) in NOT_BUILT {
        let body = format!("{{{key}: {{a: 1}}}}");
        let text = if parent.is_empty() { body } else { format!("{parent}: {body}") };
        let problems = refused(&text);
        assert_eq!(problems.len(), 1, "{text}");
        assert!(problems[0].contains("is not built yet") && problems[0].contains(why), "{problems:?}");
        assert_eq!(config(&text.replace("{a: 1}", "null")), Config::default());
    }
}

/// The keys of each mapping of the schema, by path.
fn listed(schema: &Value, path: &str, out: &mut Vec<(String, BTreeSet<String>)>) {
    if let Some(properties) = schema["properties"].as_object() {
        out.push((path.to_owned(), properties.keys().cloned().collect()));
        for (key, below) in properties {
            listed(below, &crate::config::findings::join(path, key), out);
        }
    }
    if schema["items"].is_object() {
        listed(&schema["items"], &format!("{path}[]"), out);
    }
}

thread_local! {
    static SCHEMA: Value =
        serde_json::from_str(include_str!("../../../../config.schema.json")).expect("the schema is JSON");
}

#[test]
fn the_json_schema_lists_exactly_the_keys_that_are_read() {
    let mut found = Vec::new();
    SCHEMA.with(|schema| listed(schema, "", &mut found));
    found.sort();
    let mut known: Vec<(String, BTreeSet<String>)> = KEYS
        .iter()
        .map(|(path, keys)| ((*path).to_owned(), keys.iter().map(|key| (*key).to_owned()).collect()))
        .collect();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn the_json_schema_describes_every_key_and_forbids_all_others() {
    fn look(schema: &Value, path: &str) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path}");
            for (key, below) in properties {
                let described = below["description"].as_str().is_some_and(|text| text.len() > 10);
                assert!(described, "{path}.{key} has no description");
                look(below, &format!("{path}.{key}"));
            }
        }
        if schema["items"].is_object() {
            look(&schema["items"], &format!("{path}[]"));
        }
    }
    SCHEMA.with(|schema| look(schema, ""));
    for (parent, key, _) in NOT_BUILT {
        let pointer = match *parent {
            "" => format!("/properties/{key}"),
            parent => format!("/properties/{parent}/properties/{key}"),
        };
        SCHEMA.with(|schema| {
            let text = schema.pointer(&pointer).and_then(|s| s["description"].as_str()).unwrap_or_default();
            assert!(text.contains("not built yet"), "{pointer}: {text}");
        });
    }
}

#[test]
fn the_deadline_of_a_drain_is_a_time_longer_than_none() {
    let deadline = |text: &str| config(&format!("sharing: {{drainDeadline: {text}}}")).sharing.drain_deadline;
    assert_eq!(deadline("90s"), "90s".parse().ok());
    assert_eq!(deadline("infinite"), Some(Interval::Infinite));
    assert_eq!(deadline("null"), None);
    for text in ["0s", "-1m", "90", "soon", "[]", "yes"] {
        let problems = refused(&format!("sharing: {{drainDeadline: {text}}}"));
        let expected = "1:26: `sharing.drainDeadline` must be a time longer than none";
        assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
    }
}
