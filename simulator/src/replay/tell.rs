//! Events and actions in one line each, because a journal's JSON is for machines.

use std::collections::BTreeMap;

use plugin_core::action::{Action, Severity};
use plugin_core::cdi::Found;
use plugin_core::event::{Checkpoint, Event, Holding, ProcessList};
use plugin_core::last_good::LastGood;
use plugin_core::mps::{Actual, DaemonStatus};
use plugin_core::taints::Taint;
use serde::Serialize;
use serde_json::Value;

/// The most characters of a line.
const WIDTH: usize = 240;

/// An event of the plugin.
pub fn event(event: &Event) -> String {
    let text = match event {
        Event::Started { settings, .. } => {
            let node = settings.node_name.as_deref().unwrap_or("(no node name)");
            format!("the plugin of node {node} starts")
        }
        Event::Timeout => "the time that it asked for has come".to_owned(),
        Event::ReloadRequested => "somebody asks to read everything again".to_owned(),
        Event::StopRequested => "somebody asks it to stop".to_owned(),
        Event::GpusFound { facts } => {
            let name = facts.gpus.first().map_or("", |gpu| gpu.name.as_str());
            let count = facts.gpus.len();
            format!("{count} × {name}, driver {}", facts.driver_version)
        }
        Event::PlatformUnsupported { platform, why } => format!("`{platform}`: {why}"),
        Event::DriverStuck { call, waited_s, .. } => format!("`{call}` has not returned for {waited_s} s"),
        Event::ConfigRead { files } => {
            let names: Vec<&str> = files.keys().map(String::as_str).collect();
            format!("configurations {}", names.join(", "))
        }
        Event::LastGoodRead { text } => last_good(text.as_deref()),
        Event::NodeRead { labels } => {
            let chosen = labels.get("nvidia.com/device-plugin.config");
            let chosen = chosen.map_or("none".to_owned(), |name| format!("`{name}`"));
            format!("{} labels, configuration label {chosen}", labels.len())
        }
        Event::TaintsRead { taints, .. } => all(taints),
        Event::NoDriver { why }
        | Event::DriverFailed { why }
        | Event::ConfigUnreadable { why }
        | Event::NodeUnreadable { why }
        | Event::LabelsFailed { why }
        | Event::AnnotationsFailed { why }
        | Event::TaintsFailed { why }
        | Event::LastGoodUnreadable { why }
        | Event::LastGoodNotKept { why }
        | Event::KeptGpusUnreadable { why }
        | Event::KeptGpusFailed { why }
        | Event::HoldersUnreadable { why, .. }
        | Event::PodsUnreadable { why, .. }
        | Event::CdiSpecsFailed { why }
        | Event::AllocatableUnreadable { why, .. }
        | Event::MpsDesiredFailed { why } => why.clone(),
        Event::TimeSliceFailed(failure) => format!("GPU {}: {}", failure.gpu, failure.why),
        Event::Listening { resource, endpoint, .. } => format!("{resource} on {endpoint}"),
        Event::ListenFailed { resource, why, .. } | Event::RegisterFailed { resource, why, .. } => {
            format!("{resource}: {why}")
        }
        Event::Registered { resource, .. }
        | Event::StreamOpened { resource }
        | Event::StreamClosed { resource, .. } => resource.to_string(),
        Event::Allocated { resource, ids, view_generation, refused } => {
            let answer = answer(refused.as_deref());
            format!("{resource} {}: {answer} from view {view_generation}", ids.join(", "))
        }
        Event::DriverFilesFound { found, .. } => driver_files(found),
        Event::HoldersRead { holdings, checkpoint } => holders(holdings, checkpoint),
        Event::FiguresRead { allocatable } => figures(allocatable),
        Event::PodsRead { pods, .. } => format!("{} pods are bound to the node", pods.len()),
        Event::AllocatableRead { devices } => {
            counts(devices.iter().map(|(name, ids)| (name, ids.len() as u64)))
        }
        Event::KubeletAppeared { age_ms, has_checkpoint } => kubelet(*age_ms, *has_checkpoint),
        Event::MpsReported { supervisor_alive, actual } => mps(*supervisor_alive, actual.as_ref()),
        Event::ProcessesRead { gpu, list } => format!("{gpu}: {}", processes(list)),
        _ => String::new(),
    };
    line(event.tag(), &text)
}

fn all(taints: &[Taint]) -> String {
    match taints {
        [] => "no taint".to_owned(),
        taints => taints.iter().map(Taint::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// A state file by its configuration's name; the text would be too long.
fn last_good(file: Option<&str>) -> String {
    let name = |file: &str| Some(serde_json::from_str::<LastGood>(file).ok()?.name);
    match file {
        None => "none is kept".to_owned(),
        Some(file) => name(file).map_or_else(|| "a damaged file".to_owned(), |name| format!("`{name}`")),
    }
}

/// An action of the plugin.
pub fn action(action: &Action) -> String {
    let text = match action {
        Action::Listen { resource, endpoint, .. } | Action::Register { resource, endpoint, .. } => {
            format!("{resource} on {endpoint}")
        }
        Action::Close { resource } => resource.to_string(),
        Action::WriteMpsDesired { desired } => {
            format!("wish {}: control daemons for {} GPUs", desired.generation, desired.daemons.len())
        }
        Action::WriteCdiSpecs { specs } => specs.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        Action::KeepLastGood { text } => last_good(Some(text)),
        Action::PatchLabels { labels } | Action::PatchAnnotations { annotations: labels } => {
            let parts: Vec<String> = labels
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{key}={value}"),
                    None => format!("{key}-"),
                })
                .collect();
            parts.join(" ")
        }
        Action::PatchTaints { before, after, .. } => format!("from {} to {}", all(before), all(after)),
        Action::Announce { severity, reason, message } => {
            let mark = match severity {
                Severity::Info => "",
                Severity::Warning => "warning ",
            };
            format!("{mark}{reason}: {message}")
        }
        Action::SetTimeSlice { gpu, interval } => format!("GPU {gpu}: {interval}"),
        Action::Exit { code, why } => format!("code {code}: {why}"),
        Action::ReadProcesses { gpu } => gpu.to_string(),
        _ => String::new(),
    };
    line(action.tag(), &text)
}

/// Any other record: its tag, then its fields as JSON.
pub fn plainly(record: &impl Serialize, tag: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(record) else {
        return String::new();
    };
    let name = fields.remove(tag);
    let name = name.as_ref().and_then(Value::as_str).unwrap_or("?");
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} {value}")).collect();
    line(name, &fields.join(", "))
}

fn kubelet(age_ms: u64, has_checkpoint: bool) -> String {
    let checkpoint = if has_checkpoint { "" } else { ", no checkpoint" };
    format!("{age_ms} ms old{checkpoint}")
}

/// How an Allocate was answered.
pub fn answer(refused: Option<&str>) -> String {
    match refused {
        None => "granted".to_owned(),
        Some(why) => format!("refused ({why})"),
    }
}

fn figures(allocatable: &BTreeMap<String, u64>) -> String {
    let promised = counts(allocatable.iter().map(|(name, count)| (name, *count)));
    format!("the Node promises {promised}")
}

fn counts<'a>(of: impl Iterator<Item = (&'a String, u64)>) -> String {
    let counts: Vec<String> = of.map(|(name, count)| format!("{name} {count}")).collect();
    counts.join(", ")
}

fn holders(holdings: &[Holding], checkpoint: &Checkpoint) -> String {
    let devices: usize = holdings.iter().map(|holding| holding.ids.len()).sum();
    let listed = match holdings {
        [] => "nobody holds a device".to_owned(),
        _ => format!("{} containers hold {devices} devices", holdings.len()),
    };
    match checkpoint {
        Checkpoint::Damaged { why } => format!("{listed}; checkpoint {why}"),
        Checkpoint::Unread | Checkpoint::Missing | Checkpoint::Read { .. } => listed,
    }
}

fn driver_files(found: &Found) -> String {
    format!("{} files and {} device nodes of the driver", found.files.len(), found.nodes.len())
}

fn processes(list: &ProcessList) -> String {
    match list {
        ProcessList::Read { processes } if processes.is_empty() => "no process".to_owned(),
        ProcessList::Read { processes } => {
            processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        ProcessList::Unsupported => "processes cannot be told".to_owned(),
        ProcessList::Failed { why } => why.clone(),
    }
}

fn mps(alive: bool, actual: Option<&Actual>) -> String {
    let head = if alive { "the supervisor is alive" } else { "no supervisor" };
    let Some(actual) = actual else {
        return format!("{head}, no report");
    };
    let count = |wanted: fn(&DaemonStatus) -> bool| actual.daemons.values().filter(|s| wanted(s)).count();
    let ready = count(|s| *s == DaemonStatus::Ready);
    let failed = count(|s| matches!(s, DaemonStatus::Failed { .. } | DaemonStatus::Ill { .. }));
    let busy = actual.daemons.len() - ready - failed;
    format!(
        "{head}; wish {}: {ready} daemons ready, {busy} starting or stopping, {failed} failed",
        actual.generation
    )
}

fn line(tag: &str, text: &str) -> String {
    let text = text.replace('\n', " ");
    let whole = if text.is_empty() { tag.to_owned() } else { format!("{tag}: {text}") };
    match whole.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", whole.get(..at).unwrap_or(&whole)),
        None => whole,
    }
}
