//! Every field of the file, under its own name.

use super::*;
use crate::config::keys::KEYS;

const FULL: &str = r#"
version: v1
flags:
  migStrategy: single
  failOnInitError: false
  mpsRoot: /run/nvidia/mps
  nvidiaDriverRoot: /run/nvidia/driver
  nvidiaDevRoot: /dev-root
  gdrcopyEnabled: true
  gdsEnabled: true
  mofedEnabled: true
  useNodeFeatureAPI: false
  deviceDiscoveryStrategy: nvml
  plugin:
    passDeviceSpecs: true
    deviceListStrategy: [envvar, cdi-cri]
    deviceIDStrategy: index
    cdiAnnotationPrefix: example.com/
    nvidiaCTKPath: /opt/nvidia-ctk
    containerDriverRoot: /driver
    sharedDevicesAllocationPolicy: packed
  gfd:
    oneshot: true
    noTimestamp: true
    sleepInterval: 90s
    outputFile: /out
    machineTypeFile: /machine
sharing:
  timeSlicing:
    renameByDefault: true
    failRequestsGreaterThanOne: true
    resources:
    - name: nvidia.com/gpu
      replicas: 3
      rename: nvidia.com/gpu.shared
      devices: all
imex:
  channelIDs: [0]
  required: true
"#;

#[test]
fn every_field_reaches_its_place() {
    let config = config(FULL);
    let flags = &config.flags;
    assert_eq!(config.version, Version::V1);
    assert_eq!(flags.mig_strategy, Some(MigStrategy::Single));
    assert_eq!(flags.fail_on_init_error, Some(false));
    assert_eq!(flags.mps_root.as_deref(), Some("/run/nvidia/mps"));
    assert_eq!(flags.nvidia_driver_root.as_deref(), Some("/run/nvidia/driver"));
    assert_eq!(flags.nvidia_dev_root.as_deref(), Some("/dev-root"));
    assert_eq!(flags.gdrcopy_enabled, Some(true));
    assert_eq!(flags.gds_enabled, Some(true));
    assert_eq!(flags.mofed_enabled, Some(true));
    assert_eq!(flags.use_node_feature_api, Some(false));
    assert_eq!(flags.device_discovery_strategy, Some(DiscoveryStrategy::Nvml));
    let plugin = &flags.plugin;
    assert_eq!(plugin.pass_device_specs, Some(true));
    let strategies = vec![DeviceListStrategy::Envvar, DeviceListStrategy::CdiCri];
    assert_eq!(plugin.device_list_strategy, Some(strategies));
    assert_eq!(plugin.device_id_strategy, Some(DeviceIdStrategy::Index));
    assert_eq!(plugin.cdi_annotation_prefix.as_deref(), Some("example.com/"));
    assert_eq!(plugin.nvidia_ctk_path.as_deref(), Some("/opt/nvidia-ctk"));
    assert_eq!(plugin.container_driver_root.as_deref(), Some("/driver"));
    assert_eq!(plugin.shared_devices_allocation_policy, Some(AllocationPolicy::Packed));
    let gfd = &flags.gfd;
    assert_eq!(gfd.oneshot, Some(true));
    assert_eq!(gfd.no_timestamp, Some(true));
    assert_eq!(gfd.sleep_interval, Some(Interval::Nanoseconds(90_000_000_000)));
    assert_eq!(gfd.output_file.as_deref(), Some("/out"));
    assert_eq!(gfd.machine_type_file.as_deref(), Some("/machine"));
    let shared = config.sharing.time_slicing.as_ref().unwrap();
    assert!(shared.rename_by_default);
    assert_eq!(shared.fail_requests_greater_than_one, Some(true));
    assert_eq!(shared.resources[0].replicas, Replicas::Count(3));
    assert_eq!(shared.resources[0].name, ResourceName::gpu());
    assert_eq!(shared.resources[0].rename, Some(ResourceName::gpu().shared()));
    assert_eq!(shared.resources[0].devices, Devices::All);
    assert_eq!(config.imex, Imex { channel_ids: Some(vec![0]), required: Some(true) });
}

#[test]
fn a_printed_config_reads_back_as_itself() {
    let full = config(FULL);
    let yaml = serde_yaml::to_string(&full).unwrap();
    assert_eq!(config(&yaml), full, "{yaml}");
    let json = serde_json::to_string_pretty(&full).unwrap();
    assert_eq!(config(&json), full, "{json}");
    for key in ["useNodeFeatureAPI", "deviceIDStrategy", "nvidiaCTKPath", "channelIDs", "timeSlicing"] {
        assert!(json.contains(&format!("\"{key}\"")), "{key} is missing in {json}");
    }
}

#[test]
fn the_two_configs_of_the_mixed_cluster_mean_what_they_say() {
    let default = config("version: v1\nflags:\n  migStrategy: none\n");
    let expected = Flags { mig_strategy: Some(MigStrategy::None), ..Flags::default() };
    assert_eq!(default, Config { flags: expected, ..Config::default() });

    let text = "version: v1\nsharing:\n  mps:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";
    let mps = config(text).sharing.mps.unwrap();
    assert_eq!(mps.fail_requests_greater_than_one, None);
    let [entry] = mps.resources.as_slice() else { panic!("{:?}", mps.resources) };
    assert_eq!((entry.replicas, entry.devices.clone()), (Replicas::Count(4), Devices::All));
    assert_eq!(mps.advertised(entry).as_str(), "nvidia.com/gpu.shared");
}

#[test]
fn every_known_key_is_read_and_refuses_a_value_of_the_wrong_type() {
    for (parent, keys) in KEYS {
        for key in *keys {
            let text = document_with(parent, key, "[[[1]]]");
            let problems = refused(&text);
            let says = |p: &String| p.contains(" must be ") || p.contains(" is not built yet: ");
            let about_key = problems.iter().any(|p| p.contains(key) && says(p));
            assert!(about_key, "{parent} {key}: {problems:?}");
            assert!(!problems.iter().any(|p| p.contains("unknown key")), "{text}: {problems:?}");
        }
    }
}

#[test]
fn every_plain_field_takes_null_as_unset() {
    for (parent, keys) in KEYS.iter().filter(|(parent, _)| !parent.contains("[]")) {
        for key in keys.iter().filter(|key| **key != "timeSlicing" && !parent.starts_with("sharing.")) {
            assert_eq!(config(&document_with(parent, key, "null")), Config::default(), "{parent} {key}");
        }
    }
}

/// A flow-style document that has one key in the mapping at `parent`.
fn document_with(parent: &str, key: &str, value: &str) -> String {
    let mut text = format!("{{{key}: {value}}}");
    for part in parent.rsplit('.').filter(|part| !part.is_empty()) {
        text = match part.strip_suffix("[]") {
            Some(list) => format!("{{{list}: [{text}]}}"),
            None => format!("{{{part}: {text}}}"),
        };
    }
    text
}

#[test]
fn every_word_of_every_list_is_taken() {
    let one = |text: String| config(&text).flags;
    for word in ["none", "single", "mixed"] {
        assert_eq!(one(format!("flags: {{migStrategy: {word}}}")).mig_strategy.unwrap().as_str(), word);
    }
    for word in ["auto", "nvml", "tegra"] {
        let flags = one(format!("flags: {{deviceDiscoveryStrategy: {word}}}"));
        assert_eq!(flags.device_discovery_strategy.unwrap().as_str(), word);
    }
    for word in ["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"] {
        let flags = one(format!("flags: {{plugin: {{deviceListStrategy: {word}}}}}"));
        assert_eq!(flags.plugin.device_list_strategy.unwrap()[0].as_str(), word);
    }
    for word in ["uuid", "index"] {
        let flags = one(format!("flags: {{plugin: {{deviceIDStrategy: {word}}}}}"));
        assert_eq!(flags.plugin.device_id_strategy.unwrap().as_str(), word);
    }
    for word in ["distributed", "packed"] {
        let flags = one(format!("flags: {{plugin: {{sharedDevicesAllocationPolicy: {word}}}}}"));
        assert_eq!(flags.plugin.shared_devices_allocation_policy.unwrap().as_str(), word);
    }
}
