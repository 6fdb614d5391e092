//! Contradictions between settings.

use super::*;

const BOTH: &str = "\
sharing:
  timeSlicing:
    resources:
    - {name: gpu, replicas: 3}
  mps:
    resources:
    - {name: gpu, replicas: 2}
";

#[test]
fn two_strategies_on_the_same_devices_are_refused_and_both_named() {
    let expected = "4:7: `sharing.timeSlicing.resources[0]` (devices `all`) and `sharing.mps.resources[0]` at 7:7 (devices `all`) both share `nvidia.com/gpu`, but a GPU has one strategy (hint: give each its own `devices`, or keep one)";
    assert_eq!(strict(BOTH), [expected]);
    assert_eq!(refused(BOTH), [expected]);
}

/// Devices of time-slicing, devices of MPS, whether the file alone shows that they meet.
const PAIRS: [(&str, &str, bool); 9] = [
    ("all", "all", true),
    ("all", "1", true),
    ("[0]", "all", true),
    ("[0, 1]", "[2, 1]", true),
    ("[0, 1]", "[2, 3]", false),
    ("[\"0\"]", "[0]", true),
    ("2", "2", false),
    ("2", "[0]", false),
    ("[]", "all", false),
];

#[test]
fn two_strategies_on_different_devices_are_accepted() {
    for (sliced, mps, meet) in PAIRS {
        let text = BOTH
            .replace("replicas: 3", &format!("replicas: 3, devices: {sliced}"))
            .replace("replicas: 2", &format!("replicas: 2, devices: {mps}"));
        let read = read("f", &text, Strictness::Warn);
        assert_eq!(read.is_err(), meet, "{sliced} {mps}: {read:?}");
        if let Ok(read) = read {
            assert!(read.config.sharing.mps.is_some() && read.config.sharing.time_slicing.is_some());
        }
    }
    let other = BOTH.replace("{name: gpu, replicas: 3}", "{name: mig-1g.5gb, replicas: 3}");
    assert_eq!(strict(&other), [""; 0]);
}

#[test]
fn a_resource_given_twice_is_reported() {
    for (first, second) in [(2, 5), (5, 2), (5, 5)] {
        let entry =
            format!("{{name: gpu, replicas: {first}}}\n    - {{name: nvidia.com/gpu, replicas: {second}}}");
        let expected = "5:14: `sharing.mps.resources[1]` shares devices of `nvidia.com/gpu` that resources[0] shares already (hint: keep one; without strict validation the larger number of replicas counts)";
        assert_eq!(lenient(&mps_entry(&entry)).1, [expected]);
        assert_eq!(strict(&mps_entry(&entry)), [expected]);
    }
}

#[test]
fn a_selector_given_twice_is_reported() {
    let text = mps_entry("{name: gpu, replicas: 2, devices: [0, 1, \"0\"]}");
    assert!(lenient(&text).1.iter().any(|w| w.contains("devices[2]` selects `0` a second time")));
}

#[test]
fn mps_does_not_go_with_mixed_mig() {
    let text = format!("flags: {{migStrategy: mixed}}\n{}", mps_entry("{name: gpu, replicas: 2}"));
    let (config, warnings) = lenient(&text);
    assert_eq!(config.flags.mig_strategy, Some(MigStrategy::Mixed), "a flag may still override it");
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("1:22: `sharing.mps` does not work with `flags.migStrategy` `mixed`"),
        "{warnings:?}"
    );
    assert!(read("f", &text, Strictness::Strict).is_err());
    let sliced = text.replace("mps:", "timeSlicing:");
    assert_eq!(super::config(&sliced).flags.mig_strategy, Some(MigStrategy::Mixed));
}

#[test]
fn mps_does_not_share_mig_devices() {
    let text = mps_entry("{name: mig-1g.5gb, replicas: 2}");
    assert!(strict(&text)[0].starts_with("4:14: MPS cannot share MIG devices"));
    assert!(read("f", &text, Strictness::Strict).is_err());
    assert_eq!(lenient(&text).1.len(), 1);
}
