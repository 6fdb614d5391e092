//! From a file to a scenario, because untrusted text is bounded, parsed and checked in one place.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::check;
use super::decode::{Fields, Reader};
use super::problem::{Place, Problem, Problems};
use super::schema::{
    DURATION_MAX, GPUS_MAX, GpuNode, NODES_MAX, NodeSpec, PluginSettings, Scenario, StageName, Timers,
};
use super::steps;
use super::yaml::{self, FILE_BYTES_MAX, Node};

/// Why a scenario could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error("cannot read scenario `{file}`: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("scenario `{file}` is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The text has mistakes.
    #[error("{0}")]
    Wrong(#[from] Problems),
}

/// Reads and checks a scenario file.
///
/// # Errors
/// See [`ReadError`]; every mistake of the text is reported together.
pub fn read_file(path: &Path) -> Result<Scenario, ReadError> {
    let file = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable {
        file: file.clone(),
        error,
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(unreadable)?;
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { file });
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Problems(vec![Problem::new(
            &file,
            Place::START,
            "",
            "expected UTF-8 text",
            None,
        )])
    })?;
    Ok(read_text(&file, &text)?)
}

/// Reads and checks the text of a scenario.
///
/// # Errors
/// Every mistake of the text.
pub fn read_text(file: &str, text: &str) -> Result<Scenario, Problems> {
    let root = yaml::parse(file, text).map_err(|problem| Problems(vec![problem]))?;
    let mut reader = Reader::new(file);
    let scenario = scenario(&mut reader, &root);
    if let Some(scenario) = &scenario {
        check::check(&mut reader, scenario, &root);
    }
    let problems = reader.into_problems();
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(Problems(problems)),
    }
}

const TOP: &[&str] = &[
    "story", "stages", "labels", "timers", "plugin", "nodes", "configs", "steps",
];

fn scenario(reader: &mut Reader, root: &Node) -> Option<Scenario> {
    let fields = reader.fields(root, "", TOP);
    let story = fields.need_text(reader, "story");
    let stages = stages(reader, &fields);
    let labels = fields
        .get("labels")
        .map(|node| reader.texts(node, "labels"))
        .unwrap_or_default();
    let timers = timers(reader, &fields);
    let plugin = plugin(reader, &fields);
    let nodes = nodes(reader, &fields);
    let configs = fields
        .get("configs")
        .map(|node| reader.text_map(node, "configs"))
        .unwrap_or_default();
    let steps = fields
        .need(reader, "steps")
        .map(|node| steps::steps(reader, node))
        .unwrap_or_default();
    let file = reader.file().to_owned();
    let name = Path::new(&file)
        .file_stem()
        .map_or_else(|| file.clone(), |s| s.to_string_lossy().into_owned());
    Some(Scenario {
        file,
        name,
        story: story?.trim().to_owned(),
        stages,
        labels,
        timers,
        plugin,
        nodes,
        configs: configs.into_iter().collect(),
        steps,
    })
}

fn stages(reader: &mut Reader, fields: &Fields<'_>) -> Vec<StageName> {
    let Some(node) = fields.get("stages") else {
        return vec![StageName::Wire];
    };
    let mut stages = Vec::new();
    for (index, name) in reader.texts(node, "stages").into_iter().enumerate() {
        match StageName::parse(&name) {
            Some(stage) => stages.push(stage),
            None => {
                let message = format!("expected one of {}, found `{name}`", StageName::NAMES.join(", "));
                reader.problem(node.place, &format!("stages[{index}]"), message);
            }
        }
    }
    stages
}

fn timers(reader: &mut Reader, fields: &Fields<'_>) -> Timers {
    let mut timers = Timers::default();
    let Some(node) = fields.get("timers") else {
        return timers;
    };
    let known = &[
        "nodeStatusUpdate",
        "endpointGrace",
        "termination",
        "configMapSync",
    ];
    let inner = reader.fields(node, "timers", known);
    for (name, slot) in [
        ("nodeStatusUpdate", &mut timers.node_status_update),
        ("endpointGrace", &mut timers.endpoint_grace),
        ("termination", &mut timers.termination),
        ("configMapSync", &mut timers.config_map_sync),
    ] {
        if let Some(duration) = inner.duration(reader, name, DURATION_MAX) {
            *slot = duration;
        }
    }
    timers
}

fn plugin(reader: &mut Reader, fields: &Fields<'_>) -> PluginSettings {
    let Some(node) = fields.get("plugin") else {
        return PluginSettings::default();
    };
    let inner = reader.fields(node, "plugin", &["args", "env"]);
    PluginSettings {
        args: inner
            .get("args")
            .map(|node| reader.texts(node, "plugin.args"))
            .unwrap_or_default(),
        env: inner
            .get("env")
            .map(|node| reader.text_map(node, "plugin.env").into_iter().collect())
            .unwrap_or_default(),
    }
}

fn nodes(reader: &mut Reader, fields: &Fields<'_>) -> Vec<NodeSpec> {
    let Some(list) = fields.need(reader, "nodes") else {
        return Vec::new();
    };
    let mut nodes = Vec::new();
    for (index, item) in reader.list(list, "nodes").iter().enumerate() {
        let path = format!("nodes[{index}]");
        let inner = reader.fields(item, &path, &["name", "count", "gpus", "labels"]);
        let name = inner.need_text(reader, "name");
        let count = inner
            .get("count")
            .map(|n| reader.number(n, &inner.path("count"), 1, NODES_MAX));
        let gpus = inner.get("gpus").map(|n| gpus(reader, n, &inner.path("gpus")));
        let labels: BTreeMap<String, String> = inner
            .get("labels")
            .map(|n| reader.text_map(n, &inner.path("labels")).into_iter().collect())
            .unwrap_or_default();
        let Some(name) = name else { continue };
        let names: Vec<String> = match count.flatten() {
            None => vec![name],
            Some(count) => (1..=count).map(|n| format!("{name}-{n}")).collect(),
        };
        nodes.extend(names.into_iter().map(|name| NodeSpec {
            name,
            gpus: gpus.clone().flatten(),
            labels: labels.clone(),
        }));
    }
    nodes
}

/// Reads `{board, count}`.
pub(super) fn gpus(reader: &mut Reader, node: &Node, path: &str) -> Option<GpuNode> {
    let inner = reader.fields(node, path, &["board", "count"]);
    let board = inner.need_text(reader, "board");
    let count = inner
        .need(reader, "count")
        .and_then(|count| reader.number(count, &inner.path("count"), 1, GPUS_MAX));
    Some(GpuNode {
        board: board?,
        count: u32::try_from(count?).unwrap_or(u32::MAX),
    })
}
