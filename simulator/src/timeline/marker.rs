//! What happened and what failed, because lanes show states and a reader asks what changed them.

use serde::{Deserialize, Serialize};

/// What a marker tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A node's label was set or removed.
    Label,
    /// Objects were created.
    Apply,
    /// Objects were deleted.
    Delete,
    /// A fault was injected.
    Fault,
    /// A process was restarted on purpose.
    Restart,
    /// The world was expected to be somehow.
    Expect,
    /// An invariant was broken.
    Invariant,
    /// Anything else.
    #[default]
    Note,
}

/// Something that happened, or was demanded, at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// When, in seconds; for a step, when it began.
    pub at: f64,
    /// Until when, in seconds, when it took time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<f64>,
    /// The node that it is about, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// What it tells of.
    pub kind: Kind,
    /// In one line.
    pub text: String,
    /// Whether it went as it should; absent when that is no question, as for a skipped step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ok: Option<bool>,
    /// The step's number, from 1, when it is a step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<usize>,
    /// What more there is to say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<String>,
}

/// Why a run failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When the failing step began, in seconds.
    pub from: f64,
    /// When it was given up, in seconds.
    pub at: f64,
    /// The step's number, from 1, when a step failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<usize>,
    /// What failed, in one line.
    pub text: String,
    /// The invariant that is broken, when one is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invariant: Option<String>,
    /// Expected against found, or the evidence, line by line.
    pub evidence: Vec<String>,
    /// The nodes that the evidence names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nodes: Vec<String>,
    /// The pods that the evidence names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pods: Vec<String>,
    /// The GPUs that the evidence names, by UUID.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gpus: Vec<String>,
}
