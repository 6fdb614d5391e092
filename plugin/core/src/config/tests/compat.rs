//! `--nvidia-compat`: what NVIDIA's plugin ignores is ignored, with a warning each.

use super::*;

fn compat(text: &str) -> (Config, Vec<String>) {
    let read = read_compat("f", text, Strictness::Warn).unwrap_or_else(|p| panic!("{p}\n---\n{text}"));
    let strict = read_compat("f", text, Strictness::Strict).unwrap_or_else(|p| panic!("{p}\n---\n{text}"));
    assert_eq!(read.config, strict.config);
    (read.config, lines(&read.warnings))
}

#[test]
fn devices_rename_and_patterns_are_ignored() {
    let text = "resources: {gpus: [{pattern: T4, name: t4}], mig: [{pattern: 1g.5gb, name: m}]}\n".to_owned()
        + &mps_entry("{name: gpu, replicas: 2, devices: [0], rename: shared-gpu}");
    let (config, warnings) = compat(&text);
    assert_eq!(config, super::config(&mps_entry("{name: gpu, replicas: 2}")));
    assert_eq!(
        warnings,
        [
            "1:12: `resources` is ignored (hint: NVIDIA's plugin ignores it, and `--nvidia-compat` asks for the same)",
            "5:41: `sharing.mps.resources[0].devices` is ignored, but is `[0]` (hint: NVIDIA's plugin ignores it, and `--nvidia-compat` asks for the same)",
            "5:54: `sharing.mps.resources[0].rename` is ignored, but is `nvidia.com/shared-gpu` (hint: NVIDIA's plugin ignores it, and `--nvidia-compat` asks for the same)",
        ]
    );
}

#[test]
fn a_rename_that_is_the_default_is_not_mentioned() {
    let text = "sharing:\n  mps:\n    renameByDefault: true\n    resources:\n    - {name: gpu, replicas: 2, rename: gpu.shared}\n";
    let (config, warnings) = compat(text);
    let mps = config.sharing.mps.unwrap();
    assert_eq!(mps.advertised(&mps.resources[0]), ResourceName::gpu().shared());
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn mps_wins_over_time_slicing() {
    let text = "sharing:\n  timeSlicing:\n    resources: [{name: gpu, replicas: 3}]\n  mps:\n    resources: [{name: gpu, replicas: 2}]\n";
    let (config, warnings) = compat(text);
    assert_eq!(config.sharing.time_slicing, None);
    assert_eq!(config.sharing.mps.unwrap().resources[0].replicas, Replicas::Count(2));
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("3:5: `sharing.timeSlicing` is ignored: `sharing.mps` wins"),
        "{warnings:?}"
    );
}

#[test]
fn a_parse_error_in_what_is_ignored_is_still_an_error() {
    for text in [
        "resources: {gpus: [{pattern: T4}]}".to_owned(),
        mps_entry("{name: gpu, replicas: 2, devices: 0}"),
        mps_entry("{name: gpu, replicas: 2, rename: A}"),
    ] {
        assert!(read_compat("f", &text, Strictness::Warn).is_err(), "{text}");
    }
}
