//! Every bound of a scenario file by name, because the files are untrusted and an error names the bound that it met.

use std::time::Duration;

pub use super::decode::PROBLEMS_MAX;
pub use super::other_plugin::OTHER_DEVICES_MAX;
pub use super::yaml::{DEPTH_MAX, FILE_BYTES_MAX, VALUES_MAX};

/// The most nodes of a scenario.
pub const NODES_MAX: u64 = 1000;
/// The most nodes of a scenario that plays on the wire stage, where each is a handful of processes.
pub const WIRE_NODES_MAX: usize = 32;
/// The most GPUs of one node; more than any board carries today.
pub const GPUS_MAX: u64 = 64;
/// The most pods that one step may apply.
pub const PODS_PER_STEP_MAX: u64 = 1000;
/// The most pods of a scenario, over all its steps.
pub const PODS_MAX: u64 = 20_000;
/// The most manifests of one text or file.
pub const DOCUMENTS_MAX: usize = 100;
/// The most steps of a scenario, repetitions counted out.
pub const STEPS_MAX: usize = 1000;
/// The most repetitions of a `repeat`.
pub const TIMES_MAX: u64 = 1000;
/// The longest wait, bound or timer.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);
/// The longest `advance`.
pub const ADVANCE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an `expect` waits when it names no bound.
pub const WITHIN_DEFAULT: Duration = Duration::from_secs(5);
/// The most variants of a scenario.
pub const VARIANTS_MAX: usize = 20;
/// The most text that the values of parameters may add to a file, in bytes.
pub const SUBSTITUTED_BYTES_MAX: usize = 4 << 20;
/// The most points of a memory curve.
pub const CURVE_POINTS_MAX: usize = 1000;
/// The most memory of a workload, in MiB: 1 TiB.
pub const MEMORY_MIB_MAX: u64 = 1 << 20;
/// The longest text that `configs` takes from a file or an `edit` writes, in bytes: what a config map may hold.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Every bound with its name, for the schema and the language's reference.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("FILE_BYTES_MAX", FILE_BYTES_MAX.to_string()),
        ("DEPTH_MAX", DEPTH_MAX.to_string()),
        ("VALUES_MAX", VALUES_MAX.to_string()),
        ("PROBLEMS_MAX", PROBLEMS_MAX.to_string()),
        ("NODES_MAX", NODES_MAX.to_string()),
        ("WIRE_NODES_MAX", WIRE_NODES_MAX.to_string()),
        ("GPUS_MAX", GPUS_MAX.to_string()),
        ("PODS_PER_STEP_MAX", PODS_PER_STEP_MAX.to_string()),
        ("PODS_MAX", PODS_MAX.to_string()),
        ("DOCUMENTS_MAX", DOCUMENTS_MAX.to_string()),
        ("STEPS_MAX", STEPS_MAX.to_string()),
        ("TIMES_MAX", TIMES_MAX.to_string()),
        ("DURATION_MAX", format!("{}s", DURATION_MAX.as_secs())),
        ("ADVANCE_MAX", format!("{}s", ADVANCE_MAX.as_secs())),
        ("VARIANTS_MAX", VARIANTS_MAX.to_string()),
        ("SUBSTITUTED_BYTES_MAX", SUBSTITUTED_BYTES_MAX.to_string()),
        ("CURVE_POINTS_MAX", CURVE_POINTS_MAX.to_string()),
        ("MEMORY_MIB_MAX", MEMORY_MIB_MAX.to_string()),
        ("CONFIG_BYTES_MAX", CONFIG_BYTES_MAX.to_string()),
        ("OTHER_DEVICES_MAX", OTHER_DEVICES_MAX.to_string()),
    ]
}
