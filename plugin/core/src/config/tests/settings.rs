//! Flag before environment before file before default.

use super::*;

#[test]
fn without_anything_every_default_is_nvidias() {
    let effective = Effective::resolve(&Overrides::default(), &Config::default());
    let expected = Effective {
        mig_strategy: MigStrategy::None,
        fail_on_init_error: true,
        mps_root: String::new(),
        nvidia_driver_root: "/".to_owned(),
        nvidia_dev_root: "/".to_owned(),
        gdrcopy_enabled: false,
        gds_enabled: false,
        mofed_enabled: false,
        use_node_feature_api: true,
        device_discovery_strategy: DiscoveryStrategy::Auto,
        plugin: EffectivePlugin {
            pass_device_specs: false,
            device_list_strategy: vec![DeviceListStrategy::Envvar],
            device_id_strategy: DeviceIdStrategy::Uuid,
            cdi_annotation_prefix: "cdi.k8s.io/".to_owned(),
            nvidia_ctk_path: "/usr/bin/nvidia-ctk".to_owned(),
            container_driver_root: "/driver-root".to_owned(),
            shared_devices_allocation_policy: AllocationPolicy::Distributed,
        },
        gfd: EffectiveGfd {
            oneshot: false,
            no_timestamp: false,
            sleep_interval: Interval::Nanoseconds(60_000_000_000),
            output_file: "/etc/kubernetes/node-feature-discovery/features.d/gfd".to_owned(),
            machine_type_file: "/sys/class/dmi/id/product_name".to_owned(),
        },
        imex_channel_ids: Vec::new(),
        imex_required: false,
        time_slicing_fail_requests_greater_than_one: false,
        mps_fail_requests_greater_than_one: true,
    };
    assert_eq!(effective, expected);
}

/// A value other than the default for every setting.
const FILE: &str = r#"
flags:
  migStrategy: single
  failOnInitError: false
  mpsRoot: /m
  nvidiaDriverRoot: /d
  nvidiaDevRoot: /v
  gdrcopyEnabled: true
  gdsEnabled: true
  mofedEnabled: true
  useNodeFeatureAPI: false
  deviceDiscoveryStrategy: nvml
  plugin:
    passDeviceSpecs: true
    deviceListStrategy: [cdi-cri]
    deviceIDStrategy: index
    cdiAnnotationPrefix: p/
    nvidiaCTKPath: /c
    containerDriverRoot: /r
    sharedDevicesAllocationPolicy: packed
  gfd: {oneshot: true, noTimestamp: true, sleepInterval: infinite, outputFile: "", machineTypeFile: /t}
imex: {channelIDs: [0], required: true}
"#;

#[test]
fn a_file_comes_before_every_default_and_an_override_before_every_file() {
    let file = config(FILE);
    let defaults = Effective::resolve(&Overrides::default(), &Config::default());
    let from_file = Effective::resolve(&Overrides::default(), &file);
    let overrides = Overrides { flags: file.flags.clone(), imex: file.imex.clone() };
    assert_eq!(Effective::resolve(&overrides, &Config::default()), from_file);
    let back = Overrides { flags: flags_of(&defaults), imex: imex_of(&defaults) };
    assert_eq!(Effective::resolve(&back, &file), defaults);

    let (from_file, defaults) = (leaves(&from_file), leaves(&defaults));
    assert_eq!(from_file.len(), defaults.len());
    for ((path, value), (_, default)) in from_file.iter().zip(&defaults) {
        let only_from_sharing = path.ends_with("GreaterThanOne");
        assert_eq!(value == default, only_from_sharing, "{path}: {value}");
    }
}

/// Every leaf of the resolved settings with its path.
fn leaves(effective: &Effective) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open = vec![(String::new(), serde_json::to_value(effective).unwrap())];
    while let Some((path, value)) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                open.extend(map.into_iter().map(|(key, value)| (format!("{path}.{key}"), value)));
            }
            leaf => out.push((path, leaf.to_string())),
        }
    }
    out
}

fn flags_of(effective: &Effective) -> Flags {
    let mut value = serde_json::to_value(effective).unwrap();
    value.as_object_mut().unwrap().remove("imexChannelIDs");
    serde_json::from_value(value).unwrap()
}

fn imex_of(effective: &Effective) -> Imex {
    Imex { channel_ids: Some(effective.imex_channel_ids.clone()), required: Some(effective.imex_required) }
}

#[test]
fn an_empty_dev_root_means_the_driver_root() {
    let file = config("flags: {nvidiaDriverRoot: /drv, nvidiaDevRoot: \"\"}");
    assert_eq!(Effective::resolve(&Overrides::default(), &file).nvidia_dev_root, "/drv");
    let mut overrides = Overrides::default();
    overrides.flags.nvidia_driver_root = Some("/other".to_owned());
    assert_eq!(Effective::resolve(&overrides, &file).nvidia_dev_root, "/other");
}

#[test]
fn an_override_that_is_set_but_empty_counts() {
    let mut overrides = Overrides::default();
    overrides.flags.mps_root = Some(String::new());
    assert_eq!(Effective::resolve(&overrides, &config("flags: {mpsRoot: /m}")).mps_root, "");
}

#[test]
fn requests_for_more_than_one_replica_fail_by_default_only_with_mps() {
    let explicit =
        config("sharing: {mps: {failRequestsGreaterThanOne: false, resources: [{name: gpu, replicas: 2}]}}");
    assert!(!Effective::resolve(&Overrides::default(), &explicit).mps_fail_requests_greater_than_one);
    let sliced = config(
        "sharing: {timeSlicing: {failRequestsGreaterThanOne: true, resources: [{name: gpu, replicas: 2}]}}",
    );
    assert!(Effective::resolve(&Overrides::default(), &sliced).time_slicing_fail_requests_greater_than_one);
}

#[test]
fn settings_that_cannot_hold_together_are_all_named() {
    let (mps, _) =
        lenient("flags: {migStrategy: mixed}\nsharing: {mps: {resources: [{name: gpu, replicas: 2}]}}\n");
    let plain = Effective::resolve(&Overrides::default(), &mps);
    assert_eq!(plain.contradictions(&mps), [Contradiction::MpsWithMixedMig, Contradiction::MpsRootMissing]);

    let mut overrides = Overrides::default();
    overrides.flags.mig_strategy = Some(MigStrategy::None);
    overrides.flags.mps_root = Some("/run/nvidia/mps".to_owned());
    assert_eq!(Effective::resolve(&overrides, &mps).contradictions(&mps), []);

    overrides.imex.channel_ids = Some(vec![1]);
    let wrong = Effective::resolve(&overrides, &Config::default());
    assert_eq!(wrong.contradictions(&Config::default()), [Contradiction::ImexChannels]);
}

#[test]
fn booleans_of_flags_are_gos_and_empty_is_false() {
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(parse_boolean(text), Ok(true), "{text}");
    }
    for text in ["", "0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(parse_boolean(text), Ok(false), "{text}");
    }
    for text in ["yes", "on", "tRUE", " true", "2"] {
        assert!(parse_boolean(text).unwrap_err().to_string().ends_with(&format!("`{text}`")));
    }
}

#[test]
fn overrides_survive_a_journal() {
    let file = config(FILE);
    let overrides = Overrides { flags: file.flags, imex: file.imex };
    let json = serde_json::to_string(&overrides).unwrap();
    assert_eq!(serde_json::from_str::<Overrides>(&json).unwrap(), overrides);
    assert_eq!(serde_json::from_str::<Overrides>("{}").unwrap(), Overrides::default());
}
