//! Which keys stand where and what they hold, in one table, because the reader refuses unknown keys by it and editors
//! get their schema from it.

mod steps;

use fake_gpu::Wiring;

pub use self::steps::*;
use super::limits::{GPUS_MAX, NODES_MAX, OTHER_DEVICES_MAX};
use super::schema::{KubeletProfile, StageName};

/// A key of a mapping.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub sort: Sort,
    /// Whether it must be there.
    pub needed: bool,
    /// What it says, in a few words.
    pub about: &'static str,
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub enum Sort {
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// Text by names of the author's own.
    TextMap,
    /// A whole number from … to ….
    Number(i64, i64),
    /// A list of whole numbers from 0 up.
    Numbers,
    /// A number from 0 to 1.
    Share,
    /// `300ms`, `5s`, `2m`, `1h`.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A mapping with these keys.
    Map(&'static [Key]),
    /// A list of mappings with these keys.
    Maps(&'static [Key]),
    /// Mappings with these keys by names of the author's own.
    Named(&'static [Key]),
    /// A configuration: its text, or the file that holds it.
    Config,
    /// Text by the names of stages.
    ByStage,
    /// Numbers, texts or booleans by names of the author's own.
    Scalars,
    /// A number, `[[time, value], …]`, a ramp, or a CSV file.
    Curve,
    /// A Kubernetes manifest, or a text with several.
    Manifest,
    /// The name of a board.
    Board,
    /// The name of a fault.
    Fault,
    /// Names of invariants.
    Invariants,
    /// A list of steps.
    Steps,
    /// What GPUs are cut into: one layout for all, or layouts by index.
    Mig,
    /// Part of a pattern: the world's nodes, pods or phases.
    Pattern,
}

pub(super) const fn key(name: &'static str, sort: Sort, about: &'static str) -> Key {
    Key { name, sort, needed: false, about }
}

pub(super) const fn need(name: &'static str, sort: Sort, about: &'static str) -> Key {
    Key { name, sort, needed: true, about }
}

/// The keys of a file.
pub const TOP: &[Key] = &[
    need("story", Sort::Text, "what happens and what must be true"),
    key("stages", Sort::Words(StageName::NAMES), "where it may play; all stages when absent"),
    key("notOn", Sort::ByStage, "why it does not play on a stage"),
    key("labels", Sort::Texts, "words to choose scenarios by"),
    key("parameters", Sort::Named(VARIANT), "variants of the file: name → labels and values for `${name}`"),
    key("excuses", Sort::Invariants, "invariants that the story is known to break"),
    key("timers", Sort::Map(TIMERS), "the kubelet's timers; the real ones when absent"),
    key("plugin", Sort::Map(PLUGIN), "more settings of the plugin"),
    key("mps", Sort::Map(MPS), "more settings of the MPS supervisor"),
    need("nodes", Sort::Maps(NODE), "the cluster"),
    key("configs", Sort::Config, "the plugin's config map: name → text, or `{file}`"),
    need("steps", Sort::Steps, "what happens, in order"),
];

/// The keys of a variant.
pub const VARIANT: &[Key] = &[
    key("labels", Sort::Texts, "words to choose the variant by: short, long, hardware"),
    key("values", Sort::Scalars, "the parameters' values"),
];

/// The keys of `timers`.
pub const TIMERS: &[Key] = &[
    key("nodeStatusUpdate", Sort::Duration, "how often the kubelet writes its node's status: 10s"),
    key("endpointGrace", Sort::Duration, "how long the capacity of a plugin that is gone stays: 5m"),
    key("termination", Sort::Duration, "how long a deleted pod's containers take to end: 1s"),
    key("configMapSync", Sort::Duration, "how long a changed config map takes to reach its volume: 60s"),
    key(
        "crashBackOff",
        Sort::Duration,
        "how long a container that ended waits before its next start: 10s, doubled",
    ),
    key(
        "kubeletRestart",
        Sort::Duration,
        "how long after its death by a defect a kubelet is started again: 10s",
    ),
    key("registration", Sort::Duration, "how long a busy kubelet takes before it sees to a registration: 0s"),
];

/// The keys of `plugin`.
pub const PLUGIN: &[Key] = &[
    key("args", Sort::Texts, "more command-line arguments"),
    key("env", Sort::TextMap, "more environment variables"),
];

/// The keys of `mps`.
pub const MPS: &[Key] = &[key("args", Sort::Texts, "more command-line arguments")];

/// The keys of a node.
pub const NODE: &[Key] = &[
    need("name", Sort::Text, "its name; with `count`, the first part of the names"),
    key("count", Sort::Number(1, NODES_MAX as i64), "that many nodes: name-1, name-2, …"),
    key("gpus", Sort::Map(GPUS), "its GPUs and driver; a node without has no driver library either"),
    key("labels", Sort::TextMap, "labels that it starts with"),
    key("kubelet", Sort::Word(KubeletProfile::NAMES), "which kubelet runs on it"),
    key("otherPlugins", Sort::Maps(OTHER_PLUGINS), "device plugins on it that are not ours"),
];

/// The keys of an item of `otherPlugins`.
pub const OTHER_PLUGINS: &[Key] = &[
    need("name", Sort::Text, "its name on the node"),
    need("resource", Sort::Text, "the resource that it serves"),
    need("devices", Sort::Number(0, OTHER_DEVICES_MAX as i64), "how many devices it has"),
    key("behaviour", Sort::Texts, "its naive ways, as `example-device-plugin --help` lists them"),
    key("start", Sort::Word(&["at-once", "later"]), "later: by a step"),
];

/// The keys of `gpus`.
pub const GPUS: &[Key] = &[
    need("board", Sort::Board, "the board profile"),
    need("count", Sort::Number(1, GPUS_MAX as i64), "how many"),
    key("numa", Sort::Numbers, "the NUMA node of each GPU, by index"),
    key("mig", Sort::Mig, "MIG mode on, cut into these: of all GPUs, or by the index of a GPU"),
    key(
        "links",
        Sort::Word(Wiring::NAMES),
        "how their NVLinks are connected; as usual for the board when absent",
    ),
    key("driverVersion", Sort::Text, "the driver's version"),
    key("cudaVersion", Sort::Text, "the CUDA version, major.minor"),
];

/// The keys of a configuration that lies in a file.
pub const CONFIG_FILE: &[Key] = &[need("file", Sort::Text, "a file beside the scenario")];
