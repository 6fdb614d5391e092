//! Scalars, durations, resource names and device selectors.

use super::*;
use crate::config::scalar::{Meaning, Written, meaning};

#[test]
fn plain_scalars_follow_yaml_1_1_as_nvidias_parser_does() {
    let table: &[(&str, Meaning)] = &[
        ("", Meaning::Null),
        ("~", Meaning::Null),
        ("NULL", Meaning::Null),
        ("y", Meaning::Bool(true)),
        ("yes", Meaning::Bool(true)),
        ("On", Meaning::Bool(true)),
        ("n", Meaning::Bool(false)),
        ("OFF", Meaning::Bool(false)),
        ("yEs", Meaning::Text),
        ("4", Meaning::Int(4)),
        ("+4", Meaning::Int(4)),
        ("-4", Meaning::Int(-4)),
        ("0x10", Meaning::Int(16)),
        ("0X1f", Meaning::Int(31)),
        ("010", Meaning::Int(8)),
        ("0o17", Meaning::Int(15)),
        ("0b101", Meaning::Int(5)),
        ("-0x10", Meaning::Int(-16)),
        ("1_0", Meaning::Int(10)),
        ("_1", Meaning::Text),
        ("0", Meaning::Int(0)),
        ("18446744073709551615", Meaning::Int(18_446_744_073_709_551_615)),
        ("-9223372036854775808", Meaning::Int(-9_223_372_036_854_775_808)),
        ("4.0", Meaning::Float(4.0)),
        ("1e1", Meaning::Float(10.0)),
        (".5", Meaning::Float(0.5)),
        ("1.", Meaning::Float(1.0)),
        ("08", Meaning::Float(8.0)),
        ("18446744073709551616", Meaning::Float(18_446_744_073_709_551_616.0)),
        (".inf", Meaning::Float(f64::INFINITY)),
        ("-.inf", Meaning::Float(f64::NEG_INFINITY)),
        ("1e400", Meaning::Text),
        ("0x", Meaning::Text),
        ("0x+1", Meaning::Text),
        ("-", Meaning::Text),
        (".", Meaning::Text),
        ("1e", Meaning::Text),
        ("1.2.3", Meaning::Text),
        ("inf", Meaning::Text),
        ("+infinity", Meaning::Text),
        ("0:1", Meaning::Text),
        ("2001-01-01", Meaning::Text),
    ];
    for (text, expected) in table {
        assert_eq!(meaning(text, Written::Plain), *expected, "`{text}`");
        assert_eq!(meaning(text, Written::AsText), Meaning::Text, "quoted `{text}`");
    }
}

#[test]
fn durations_are_gos() {
    let table = [
        ("60s", 60_000_000_000, "1m0s"),
        ("1m30s", 90_000_000_000, "1m30s"),
        ("1.5h", 5_400_000_000_000, "1h30m0s"),
        ("300ms", 300_000_000, "300ms"),
        ("1.5us", 1_500, "1.5µs"),
        ("2µs", 2_000, "2µs"),
        ("5ns", 5, "5ns"),
        (".5s", 500_000_000, "500ms"),
        ("1.s", 1_000_000_000, "1s"),
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("-1m", -60_000_000_000, "-1m0s"),
        ("+2s", 2_000_000_000, "2s"),
        ("1.0000000005s", 1_000_000_000, "1s"),
        ("2562047h47m16.854775807s", i64::MAX, "2562047h47m16.854775807s"),
    ];
    for (text, nanoseconds, printed) in table {
        let interval: Interval = text.parse().unwrap();
        assert_eq!(interval, Interval::Nanoseconds(nanoseconds), "{text}");
        assert_eq!(interval.to_string(), printed, "{text}");
    }
    assert_eq!("infinite".parse(), Ok(Interval::Infinite));
    assert_eq!(Interval::Infinite.to_string(), "infinite");
    for text in ["", "-", "5", "s", ".s", "1x", "1 s", "1s ", "1m s", "never", "9999999h", "1.2.3s"] {
        let error = text.parse::<Interval>().unwrap_err();
        assert!(error.to_string().ends_with(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn a_resource_name_gets_its_prefix_and_must_be_a_dns_subdomain() {
    let name = |text: &str| ResourceName::parse(text).map(|name| name.to_string());
    assert_eq!(name("gpu").unwrap(), "nvidia.com/gpu");
    assert_eq!(name("nvidia.com/gpu").unwrap(), "nvidia.com/gpu");
    assert_eq!(name("mig-1g.5gb.me").unwrap(), "nvidia.com/mig-1g.5gb.me");
    assert!(name(&"g".repeat(52)).is_ok(), "63 characters");
    let wrong =
        ["", "nvidia.com/", "GPU", "example.com/gpu", "gpu_1", "-gpu", "gpu-", "a..b", ".a", "gpu ", "gpü"];
    for text in wrong {
        let error = ResourceName::parse(text).unwrap_err();
        assert!(matches!(error, ResourceNameError::NotADnsSubdomain { .. }), "{text}: {error}");
    }
    let long = ResourceName::parse(&"g".repeat(53)).unwrap_err();
    assert!(matches!(long, ResourceNameError::TooLong { length: 64, .. }), "{long}");
}

#[test]
fn a_shared_name_survives_a_journal() {
    let shared = ResourceName::parse(&"g".repeat(52)).unwrap().shared();
    let json = serde_json::to_string(&shared).unwrap();
    assert_eq!(serde_json::from_str::<ResourceName>(&json).unwrap(), shared);
    assert!(serde_json::from_str::<ResourceName>("\"Bad Name\"").is_err());
}

#[test]
fn a_device_is_selected_in_four_forms() {
    const UUID: &str = "4cf8db2d-06c0-7d70-1a51-e59b25b2c16c";
    let gpu = format!("GPU-{UUID}");
    let mig = format!("MIG-{UUID}");
    let old_mig = format!("MIG-GPU-{UUID}/9/0");
    assert_eq!(DeviceRef::parse("0"), Some(DeviceRef::Index(0)));
    assert_eq!(DeviceRef::parse("0:1"), Some(DeviceRef::MigIndex(0, 1)));
    assert_eq!(DeviceRef::parse(&gpu), Some(DeviceRef::GpuUuid(gpu.clone())));
    assert_eq!(DeviceRef::parse(&mig), Some(DeviceRef::MigUuid(mig.clone())));
    assert_eq!(DeviceRef::parse(&old_mig), Some(DeviceRef::MigUuid(old_mig.clone())));
    let wrong = [
        "".to_owned(),
        "all".to_owned(),
        "-1".to_owned(),
        "+1".to_owned(),
        "0:".to_owned(),
        ":1".to_owned(),
        "0:1:2".to_owned(),
        "99999999999".to_owned(),
        UUID.to_owned(),
        "GPU-".to_owned(),
        "GPU-4cf8db2d".to_owned(),
        format!("gpu-{UUID}"),
        format!("GPU-{UUID}0"),
        format!("MIG-GPU-{UUID}"),
        format!("MIG-GPU-{UUID}/9"),
        format!("MIG-GPU-{UUID}/9/0/1"),
        format!("MIG-GPU-{UUID}/9/x"),
    ];
    for text in wrong {
        assert_eq!(DeviceRef::parse(&text), None, "{text}");
    }
}

#[test]
fn overlaps_are_claimed_only_when_hardware_is_not_needed_to_know() {
    let list = |text: &[&str]| Devices::List(text.iter().map(|t| DeviceRef::parse(t).unwrap()).collect());
    let table = [
        (Devices::All, Devices::All, true),
        (Devices::All, Devices::Count(1), true),
        (Devices::All, list(&["3"]), true),
        (Devices::Count(1), Devices::Count(2), false),
        (Devices::Count(2), list(&["1"]), false),
        (Devices::Count(2), list(&["2", "3"]), false),
        (list(&["0", "1"]), list(&["1", "2"]), true),
        (list(&["0"]), list(&["1"]), false),
        (list(&["0"]), list(&["GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c"]), false),
        (Devices::All, Devices::List(Vec::new()), false),
    ];
    for (a, b, expected) in table {
        assert_eq!(a.surely_overlaps(&b), expected, "{a} and {b}");
        assert_eq!(b.surely_overlaps(&a), expected, "{b} and {a}");
    }
}
