//! Bad input, row by row: what is wrong is said in its place, and nothing panics. Sections are those of the reference on
//! k8s-device-plugin v0.20.

use super::*;

/// What a row ends as.
enum End {
    /// Refused whatever the strictness; the message contains this.
    Refused(&'static str),
    /// A warning, or an error when strict; the message contains this.
    Warned(&'static str),
    /// Nothing is wrong.
    Fine,
}
use End::{Fine, Refused, Warned};

fn assert_ends(text: &str, end: &End) {
    let shown: String = text.chars().take(200).collect();
    let strict = strict(text);
    match end {
        Fine => assert_eq!(strict, [""; 0], "{shown}"),
        Refused(part) => {
            let said = refused(text);
            assert!(said.iter().any(|line| line.contains(part)), "{shown}: {said:?}");
        }
        Warned(part) => {
            let (_, said) = lenient(text);
            assert!(said.iter().any(|line| line.contains(part)), "{shown}: {said:?}");
            assert!(read("f", text, Strictness::Strict).is_err(), "{shown}");
            assert_eq!(strict, said, "{shown}");
        }
    }
}

#[test]
fn every_parsing_rule_of_section_1_2() {
    let rows = [
        // an empty file, in every form
        ("", Fine),
        ("   \n", Fine),
        ("# a comment only\n", Fine),
        ("\u{feff}", Fine),
        ("{}", Fine),
        // YAML or JSON
        ("{\"version\": \"v1\"}", Fine),
        ("{\n\t\"version\": \"v1\"\n}", Fine),
        ("flags:\n\tmigStrategy: none", Refused("not valid YAML")),
        ("[]", Refused("the file must be a mapping, but is a list")),
        ("v1", Refused("the file must be a mapping, but is text `v1`")),
        ("\0", Refused("")),
        // unknown fields at every level
        ("unknown: 1", Warned("unknown key `unknown`")),
        ("flags: {unknown: 1}", Warned("unknown key `unknown` under `flags`")),
        ("flags: {plugin: {unknown: 1}}", Warned("under `flags.plugin`")),
        ("flags: {gfd: {unknown: 1}}", Warned("under `flags.gfd`")),
        ("resources: {unknown: 1}", Warned("under `resources`")),
        ("imex: {unknown: 1}", Warned("under `imex`")),
        ("flags: {renameByDefault: true}", Warned("`renameByDefault` belongs under `sharing.mps`")),
        // duplicate keys
        ("version: v1\nversion: v1", Warned("duplicate key `version`, first given at 1:1")),
        ("flags: {migStrategy: none, migStrategy: single}", Warned("duplicate key `migStrategy`")),
        // YAML 1.1
        ("flags: {failOnInitError: yes}", Fine),
        ("flags: {failOnInitError: off}", Fine),
        ("flags: {failOnInitError: n}", Fine),
        ("flags: {migStrategy: no}", Refused("`no` is a boolean in YAML 1.1")),
        ("flags: {mpsRoot: 5}", Fine),
        ("version: 1", Refused("`version` must be `v1`, but is `1`")),
        // keys in any case, but not inside a strategy
        ("FLAGS: {MigStrategy: none}", Fine),
        ("Version: v2", Refused("but is `v2`")),
        // versions
        ("version: \"\"", Fine),
        ("version: null", Fine),
        ("version: v2", Refused("`version` must be `v1`")),
        ("version: [v1]", Refused("must be text, but is a list")),
        // null and empty strategies
        ("sharing: {}", Fine),
        ("sharing: {mps: null}", Fine),
        ("sharing: {timeSlicing: null}", Refused("no resources specified in `sharing.timeSlicing`")),
        ("sharing: {timeSlicing: {}}", Refused("no resources specified")),
    ];
    for (text, end) in rows {
        let warned_case = text.starts_with("FLAGS");
        if warned_case {
            assert!(read("f", text, Strictness::Strict).is_ok(), "{text}");
            continue;
        }
        assert_ends(text, &end);
    }
}

#[test]
fn every_field_of_section_1_3_with_values_it_takes_and_does_not_take() {
    let rows = [
        ("flags: {migStrategy: mixed}", Fine),
        ("flags: {migStrategy: both}", Refused("must be one of `none`, `single`, `mixed`, but is `both`")),
        ("flags: {migStrategy: [none]}", Refused("must be text")),
        ("flags: {failOnInitError: \"true\"}", Refused("must be `true` or `false`")),
        ("flags: {failOnInitError: 1}", Refused("must be `true` or `false`")),
        ("flags: {mpsRoot: {}}", Refused("must be text, but is a mapping")),
        ("flags: {nvidiaDriverRoot: []}", Refused("must be text")),
        ("flags: {nvidiaDevRoot: []}", Refused("must be text")),
        ("flags: {gdrcopyEnabled: 0}", Refused("must be `true` or `false`")),
        ("flags: {gdsEnabled: x}", Refused("must be `true` or `false`")),
        ("flags: {mofedEnabled: x}", Refused("must be `true` or `false`")),
        ("flags: {useNodeFeatureAPI: x}", Refused("must be `true` or `false`")),
        ("flags: {deviceDiscoveryStrategy: vfio}", Refused("must be one of `auto`, `nvml`, `tegra`")),
        ("flags: []", Refused("`flags` must be a mapping")),
        ("flags: {plugin: x}", Refused("`flags.plugin` must be a mapping")),
        ("flags: {plugin: {passDeviceSpecs: x}}", Refused("must be `true` or `false`")),
        ("flags: {plugin: {deviceListStrategy: envvar}}", Fine),
        ("flags: {plugin: {deviceListStrategy: [envvar, cdi-cri]}}", Fine),
        (
            "flags: {plugin: {deviceListStrategy: \"envvar,cdi-cri\"}}",
            Refused("several words are written as a list"),
        ),
        ("flags: {plugin: {deviceListStrategy: []}}", Warned("no container would be told its devices")),
        ("flags: {plugin: {deviceListStrategy: [5]}}", Refused("must be text")),
        ("flags: {plugin: {deviceIDStrategy: name}}", Refused("must be one of `uuid`, `index`")),
        ("flags: {plugin: {cdiAnnotationPrefix: []}}", Refused("must be text")),
        ("flags: {plugin: {nvidiaCTKPath: []}}", Refused("must be text")),
        ("flags: {plugin: {containerDriverRoot: []}}", Refused("must be text")),
        ("flags: {plugin: {sharedDevicesAllocationPolicy: random}}", Refused("`distributed`, `packed`")),
        ("flags: {gfd: {oneshot: x}}", Refused("must be `true` or `false`")),
        ("flags: {gfd: {noTimestamp: x}}", Refused("must be `true` or `false`")),
        ("flags: {gfd: {sleepInterval: 90s}}", Fine),
        ("flags: {gfd: {sleepInterval: infinite}}", Fine),
        ("flags: {gfd: {sleepInterval: soon}}", Refused("must be a duration")),
        ("flags: {gfd: {outputFile: []}}", Refused("must be text")),
        ("flags: {gfd: {machineTypeFile: []}}", Refused("must be text")),
        ("resources: {gpus: [{pattern: \"*\", name: gpu}]}", Fine),
        ("resources: {gpus: [{pattern: \"*\"}]}", Refused("has no `name`")),
        ("resources: {gpus: [{name: gpu}]}", Refused("has no `pattern`")),
        ("resources: {gpus: [{pattern: 5, name: gpu}]}", Refused("must be text")),
        ("resources: {gpus: [{pattern: x, name: example.com/gpu}]}", Refused("a resource name is")),
        ("resources: {gpus: x}", Refused("must be a list")),
        ("resources: {mig: [{pattern: 1g.5gb, name: mig-small}]}", Fine),
        ("resources: {mig: [{pattern: 1g.5gb}]}", Refused("has no `name`")),
        ("imex: {channelIDs: []}", Fine),
        ("imex: {channelIDs: [0]}", Fine),
        ("imex: {channelIDs: [1]}", Refused("must be [] or [0]")),
        ("imex: {channelIDs: [0, 0]}", Refused("must be [] or [0]")),
        ("imex: {required: 1}", Refused("must be `true` or `false`")),
    ];
    for (text, end) in rows {
        assert_ends(text, &end);
    }
}

#[test]
fn every_field_of_a_sharing_entry() {
    let rows = [
        ("{name: gpu, replicas: 2}", Fine),
        ("{replicas: 2}", Refused("has no `name`")),
        ("{name: gpu}", Refused("has no `replicas`")),
        ("{name: GPU, replicas: 2}", Refused("a resource name is")),
        ("{name: 5, replicas: 2}", Refused("must be text")),
        ("{name: null, replicas: 2}", Refused("must be")),
        ("{name: \"\", replicas: 2}", Refused("must be")),
        ("{name: gpu, replicas: 0}", Refused("must be from 2 to 4096, but is `0`")),
        ("{name: gpu, replicas: 1}", Refused("leave the resource out to hand its GPUs out whole")),
        ("{name: gpu, replicas: -1}", Refused("but is `-1`")),
        ("{name: gpu, replicas: 1e9}", Refused("but is `1000000000`")),
        ("{name: gpu, replicas: 1e300}", Refused("must be a whole number")),
        ("{name: gpu, replicas: .nan}", Refused("must be a whole number")),
        ("{name: gpu, replicas: 2.5}", Refused("must be a whole number")),
        ("{name: gpu, replicas: 2.0}", Fine),
        ("{name: gpu, replicas: 0x10}", Fine),
        ("{name: gpu, replicas: \"4\"}", Refused("write it without quotes")),
        ("{name: gpu, replicas: Auto}", Refused("must be a whole number")),
        ("{name: gpu, replicas: 2, rename: \"\"}", Refused("must be a resource name")),
        ("{name: gpu, replicas: 2, rename: null}", Refused("must be")),
        ("{name: gpu, replicas: 2, rename: a b}", Refused("a resource name is")),
        ("{name: gpu, replicas: 2, devices: all}", Fine),
        ("{name: gpu, replicas: 2, devices: every}", Refused("must be `all`, a count of at least 1")),
        ("{name: gpu, replicas: 2, devices: 0}", Refused("must be `all`, a count of at least 1")),
        ("{name: gpu, replicas: 2, devices: -1}", Refused("must be `all`, a count of at least 1")),
        ("{name: gpu, replicas: 2, devices: null}", Refused("must be `all`")),
        ("{name: gpu, replicas: 2, devices: {}}", Refused("must be `all`")),
        ("{name: gpu, replicas: 2, devices: \"0\"}", Refused("write one device as a list: [\"0\"]")),
        ("{name: gpu, replicas: 2, devices: [0, 1]}", Fine),
        ("{name: gpu, replicas: 2, devices: [-1]}", Refused("must be an index")),
        ("{name: gpu, replicas: 2, devices: [4294967296]}", Refused("must be an index")),
        ("{name: gpu, replicas: 2, devices: [GPU-1]}", Refused("must be an index")),
        ("{name: gpu, replicas: 2, devices: [[0]]}", Refused("must be an index")),
        ("{name: gpu, replicas: 2, devices: []}", Warned("selects no device")),
        ("{name: gpu, replicas: 2, devices: [null]}", Warned("selects no device")),
        ("{name: gpu, replicas: 2, devices: [0, \"0\"]}", Warned("selects `0` a second time")),
        ("{name: gpu, replicas: 2, Devices: all}", Warned("upper and lower case matter here")),
        ("[gpu]", Refused("must be a mapping")),
        ("{name: mig-1g.5gb, replicas: 2}", Warned("MPS cannot share MIG devices")),
    ];
    for (entry, end) in rows {
        assert_ends(&mps_entry(entry), &end);
    }
}

#[test]
fn names_are_at_most_63_characters_with_their_prefix() {
    let name = |length: usize| "g".repeat(length - "nvidia.com/".len());
    for key in ["name: X, replicas: 2", "name: gpu, replicas: 2, rename: X"] {
        assert_ends(&mps_entry(&format!("{{{}}}", key.replace('X', &name(63)))), &Fine);
        let long = mps_entry(&format!("{{{}}}", key.replace('X', &name(64))));
        assert_ends(&long, &Refused("has at most 63 characters with its prefix"));
    }
    let huge = mps_entry(&format!("{{name: {}, replicas: 2}}", "g".repeat(100_000)));
    assert_ends(&huge, &Refused("has at most 63 characters"));
}

#[test]
fn files_that_want_to_exhaust_the_reader_are_stopped() {
    let bomb = |width: usize| {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); width].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        text
    };
    assert_ends(&bomb(10), &Refused("aliases counted in full"));
    assert_ends(&"#".repeat(10 * 1024 * 1024 + 1), &Refused("more than 10485760 bytes"));
    assert_ends(&"# x\n".repeat(10 * 1024 * 1024 / 4), &Fine);
    assert_ends(&"[".repeat(100_000), &Refused(""));
    assert_ends(&format!("flags: {{mpsRoot: {}", "{a: ".repeat(50_000)), &Refused(""));
}

#[test]
fn all_problems_of_a_file_are_told_together_in_its_order() {
    let text = "version: v2\nflags: {migStrategy: both, plugin: {passDeviceSpecs: x}}\nsharing:\n  mps:\n    resources:\n    - {name: GPU, replicas: 1, devices: 0}\n  pressure: 1\nunknown: 1\n";
    let said = refused(text);
    let places: Vec<&str> = said.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["1:10", "2:22", "2:54", "6:14", "6:29", "6:41", "7:13", "8:1"], "{said:?}");
}
