//! The record of a run as data, because a report must show how the cluster came to its last state and not only that state.
//!
//! [`Recorder`] is fed with snapshots of the world and with markers; it merges equal snapshots into spans and ends in a
//! [`Timeline`], which serialises to JSON and is drawn by [`crate::report::html`]. All times are seconds since the start
//! of the run, on the stage's own clock (virtual on a stage that has one).

mod evidence;
mod marker;
pub mod of_run;
pub mod recorder;
mod snapshot;
mod track;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use marker::{Failure, Kind, Marker};
pub use recorder::Recorder;

/// The version of the record's shape.
pub const VERSION: u32 = 1;

/// A run from start to end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// What was run, and how it ended.
    pub header: Header,
    /// When the record ends, in seconds since the start.
    pub end: f64,
    /// The nodes, by name.
    pub nodes: Vec<NodeLane>,
    /// The pods, in the order in which they were first seen.
    pub pods: Vec<PodLane>,
    /// Steps, faults and notes, by time.
    pub markers: Vec<Marker>,
    /// Why the run failed, when it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// What the record left out because a bound was reached, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub truncated: Vec<String>,
}

/// What was run, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub file: String,
    /// What it tells.
    pub story: String,
    /// The stage that it played on.
    pub stage: String,
    /// The seed of everything random.
    pub seed: u64,
    /// The commit of the program that played it, when known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    /// Timers that differ from the real ones, `name real→scaled`.
    pub timers_scaled: Vec<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// Wall time in seconds; the record itself may be in virtual time.
    pub wall_seconds: f64,
    /// Steps that an earlier failure kept from being played.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_reached: Vec<String>,
    /// The command that plays the same run again, when there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replay: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every step was as the scenario says and nothing was left behind.
    Passed,
    /// It was not.
    Failed,
    /// Somebody stopped it, or it never ended.
    #[default]
    Interrupted,
}

impl Verdict {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Interrupted => "interrupted",
        }
    }
}

/// From when to when something was as it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span<T> {
    /// First seen, in seconds.
    pub from: f64,
    /// Seen no more, in seconds.
    pub to: f64,
    /// What was so.
    #[serde(flatten)]
    pub is: T,
}

/// One node over the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeLane {
    /// The node's name.
    pub name: String,
    /// What it was, when.
    pub spans: Vec<Span<NodeWas>>,
    /// Its GPUs, by index.
    pub gpus: Vec<GpuLane>,
}

/// A node and its plugin during a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeWas {
    /// The Node's `Ready` condition.
    pub ready: bool,
    /// `absent`, `running` (but not ready) or `ready`.
    pub plugin: String,
    /// The configuration in force, as the plugin says; absent when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<String>,
    /// Where its switch stands: `settled`, `staged`, `applying`, …, as the plugin says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub switch: Option<String>,
    /// Allocatable extended resources.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub allocatable: BTreeMap<String, u64>,
}

/// One physical GPU over the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuLane {
    /// `GPU-…`.
    pub uuid: String,
    /// NVML's index when first seen.
    pub index: u32,
    /// What it was, when.
    pub spans: Vec<Span<GpuWas>>,
    /// Whether it is still there at the end.
    pub there: bool,
    /// Its memory over time, when the stage tells it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory: Option<MemoryTrack>,
}

/// A GPU during a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuWas {
    /// The extended resource that it serves, such as `nvidia.com/gpu.shared`; absent when it serves none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// `exclusive`, `time-slicing` or `mps`, as the plugin says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strategy: Option<String>,
    /// `settled`, `draining`, `converting`, `found` (seen by the driver, no word from the plugin), `lost` (seen by
    /// the driver no more).
    pub state: String,
    /// Into how many devices its role divides it.
    pub replicas: u32,
    /// Who holds a device of it, by slot and name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub holders: Vec<Holder>,
    /// Why it is not healthy; absent while it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ill: Option<String>,
    /// The driver's compute mode.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub compute_mode: String,
    /// `running` or `absent`: its MPS control daemon.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub mps_daemon: String,
}

/// A pod that holds a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// Which replica, when its device id says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<u32>,
    /// The pod's name.
    pub pod: String,
}

/// A GPU's memory over time, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryTrack {
    /// All of it.
    pub total: u64,
    /// `(seconds, bytes used)`: the use changed to that at that time.
    pub used: Vec<(f64, u64)>,
}

/// One pod over the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodLane {
    /// The pod's name.
    pub name: String,
    /// Extended resources that it asks for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub asks: BTreeMap<String, u64>,
    /// Whether it is still there at the end.
    pub there: bool,
    /// What it was, when; a gap is a time when no pod had this name.
    pub spans: Vec<Span<PodWas>>,
}

/// A pod during a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodWas {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// The node that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// Why it is so: the status' reason and message, or the scheduler's.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// The device ids that it holds.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ids: Vec<String>,
}

#[cfg(test)]
mod tests;
