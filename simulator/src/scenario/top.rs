//! Reads what stands at the top of a file beside nodes and steps: stages, excuses, timers, settings, configurations.

use std::collections::BTreeMap;

use super::beside;
use super::decode::{Fields, Reader};
use super::grammar::{CONFIG_FILE, MPS, PLUGIN, TIMERS};
use super::limits::{CONFIG_BYTES_MAX, DURATION_MAX};
use super::schema::{PluginSettings, StageName, Timers};
use super::yaml::{Kind, Node};
use crate::invariants::Invariant;

/// `stages` and `notOn`: every stage that is left out has a reason.
pub(super) fn stages(
    reader: &mut Reader,
    fields: &Fields<'_>,
) -> (Vec<StageName>, BTreeMap<StageName, String>) {
    let mut not_on = BTreeMap::new();
    if let Some(node) = fields.get("notOn") {
        for (key, value) in reader.entries(node, "notOn") {
            let path = format!("notOn.{}", key.name);
            let reason = reader.text(value, &path);
            match (StageName::parse(&key.name), reason) {
                (Some(stage), Some(reason)) => {
                    not_on.insert(stage, reason);
                }
                (None, _) => {
                    let message =
                        format!("expected one of {}, found `{}`", StageName::NAMES.join(", "), key.name);
                    reader.problem(key.place, "notOn", message);
                }
                (Some(_), None) => {}
            }
        }
    }
    let Some(node) = fields.get("stages") else {
        let all = StageName::ALL.iter().copied();
        return (all.filter(|stage| !not_on.contains_key(stage)).collect(), not_on);
    };
    let mut stages = Vec::new();
    for (index, item) in reader.list(node, "stages").iter().enumerate() {
        let path = format!("stages[{index}]");
        let name = reader.word(item, &path, StageName::NAMES);
        stages.extend(name.and_then(|name| StageName::parse(&name)));
    }
    if stages.contains(&StageName::Cluster) && not_on.contains_key(&StageName::Cluster) {
        reader.problem(node.place, "stages", "`cluster` is in `stages` and in `notOn`");
    }
    for stage in StageName::ALL {
        let (listed, refused) = (stages.contains(stage), not_on.contains_key(stage));
        if listed == refused {
            let message = match listed {
                true => format!("`{stage}` is in `stages` and in `notOn`"),
                false => format!("`stages` leaves `{stage}` out; `notOn: {{{stage}: the reason}}` says why"),
            };
            reader.problem(node.place, "stages", message);
        }
    }
    (stages, not_on)
}

/// `excuses`.
pub(super) fn excuses(reader: &mut Reader, fields: &Fields<'_>) -> Vec<Invariant> {
    let Some(node) = fields.get("excuses") else {
        return Vec::new();
    };
    let names: Vec<&str> = Invariant::ALL.iter().map(|(_, name, _)| *name).collect();
    let mut excuses = Vec::new();
    for (index, item) in reader.list(node, "excuses").iter().enumerate() {
        let name = reader.word(item, &format!("excuses[{index}]"), &names);
        excuses.extend(name.and_then(|name| Invariant::parse(&name)));
    }
    excuses
}

/// `timers`.
pub(super) fn timers(reader: &mut Reader, fields: &Fields<'_>) -> Timers {
    let mut timers = Timers::default();
    let Some(node) = fields.get("timers") else {
        return timers;
    };
    let inner = reader.fields(node, "timers", TIMERS);
    for (name, slot) in [
        ("nodeStatusUpdate", &mut timers.node_status_update),
        ("endpointGrace", &mut timers.endpoint_grace),
        ("termination", &mut timers.termination),
        ("configMapSync", &mut timers.config_map_sync),
        ("crashBackOff", &mut timers.crash_back_off),
        ("kubeletRestart", &mut timers.kubelet_restart),
        ("registration", &mut timers.registration),
    ] {
        if let Some(duration) = inner.duration(reader, name, DURATION_MAX) {
            *slot = duration;
        }
    }
    timers
}

/// `plugin`.
pub(super) fn plugin(reader: &mut Reader, fields: &Fields<'_>) -> PluginSettings {
    let Some(node) = fields.get("plugin") else {
        return PluginSettings::default();
    };
    let inner = reader.fields(node, "plugin", PLUGIN);
    PluginSettings {
        args: inner.get("args").map(|node| reader.texts(node, "plugin.args")).unwrap_or_default(),
        env: inner
            .get("env")
            .map(|node| reader.text_map(node, "plugin.env").into_iter().collect())
            .unwrap_or_default(),
    }
}

/// `mps`.
pub(super) fn mps_args(reader: &mut Reader, fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.get("mps") else {
        return Vec::new();
    };
    let inner = reader.fields(node, "mps", MPS);
    inner.get("args").map(|node| reader.texts(node, "mps.args")).unwrap_or_default()
}

/// `configs`: texts, or files beside the scenario.
pub(super) fn configs(reader: &mut Reader, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some(node) = fields.get("configs") else {
        return BTreeMap::new();
    };
    let mut configs = BTreeMap::new();
    for (key, value) in reader.entries(node, "configs") {
        let path = format!("configs.{}", key.name);
        let text = match value.kind {
            Kind::Map(_) => config_file(reader, value, &path),
            _ => reader.text(value, &path),
        };
        configs.extend(text.map(|text| (key.name.clone(), text)));
    }
    configs
}

fn config_file(reader: &mut Reader, node: &Node, path: &str) -> Option<String> {
    let inner = reader.fields(node, path, CONFIG_FILE);
    let name = inner.need(reader, "file")?;
    let limit = (CONFIG_BYTES_MAX, "CONFIG_BYTES_MAX");
    beside::read(reader, name, &inner.path("file"), limit).map(|(_, text)| text)
}
