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
fn two_strategies_on_the_same_devices_are_named_and_mps_wins() {
    let expected = "4:14: `sharing.timeSlicing` and `sharing.mps` both share devices `all` of `nvidia.com/gpu` (hint: keep one of them; without strict validation `sharing.mps` wins)";
    assert_eq!(strict(BOTH), [expected]);
    assert!(read("f", BOTH, Strictness::Strict).is_err());
    let (config, warnings) = lenient(BOTH);
    assert_eq!(warnings, [expected]);
    assert_eq!(config.sharing.time_slicing, None);
    assert_eq!(config.sharing.mps.unwrap().resources[0].replicas, 2);
}

#[test]
fn two_strategies_on_different_resources_are_not_supported_yet() {
    let text = BOTH.replace("{name: gpu, replicas: 3}", "{name: mig-1g.5gb, replicas: 3}");
    let (config, warnings) = lenient(&text);
    assert_eq!(config.sharing.time_slicing, None);
    let expected = "3:5: `sharing.timeSlicing` beside `sharing.mps` is not supported yet (hint: remove it; without strict validation `sharing.mps` wins)";
    assert_eq!(warnings, [expected]);
    assert!(read("f", &text, Strictness::Strict).is_err());
}

#[test]
fn a_resource_given_twice_keeps_the_larger_number_of_replicas() {
    for (first, second) in [(2, 5), (5, 2), (5, 5)] {
        let entry =
            format!("{{name: gpu, replicas: {first}}}\n    - {{name: nvidia.com/gpu, replicas: {second}}}");
        let (config, warnings) = lenient(&mps_entry(&entry));
        let resources = config.sharing.mps.unwrap().resources;
        assert_eq!(resources.iter().map(|entry| entry.replicas).collect::<Vec<_>>(), [5]);
        let expected = "5:14: `sharing.mps.resources[1]` shares devices of `nvidia.com/gpu` that resources[0] shares already (hint: keep one; without strict validation 5 replicas count)";
        assert_eq!(warnings, [expected]);
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
