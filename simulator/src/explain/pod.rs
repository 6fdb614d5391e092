//! Why one pod got its devices, or did not, in sentences.

use std::collections::BTreeMap;

use plugin_core::event::Holding;
use plugin_core::time::Time;

use super::choice::choice;
use super::history::{History, Moment, What};
use super::run::{Pod, Run};
use crate::world::gpu_of;

/// The most holdings of one pod that are told.
const HOLDINGS_MAX: usize = 64;

/// Everything that is known of a pod, one sentence per line.
pub fn explain(run: &Run, name: &str) -> Vec<String> {
    let pod = run.report.world.pods.get(name);
    let mut lines = Vec::new();
    match pod {
        Some(pod) => {
            lines.push(asked(name, pod));
            lines.extend(scheduled(run, name, pod));
        }
        None => lines.push(format!("{name} was gone at the end of the run; the nodes' journals remember it")),
    }
    let mut told = 0;
    for (node, history) in &run.nodes {
        for (at, moment) in history.moments.iter().enumerate() {
            if let What::Listed { holding } = &moment.what
                && holding.pod == name
                && told < HOLDINGS_MAX
            {
                told += 1;
                lines.extend(held(node, history, at, holding));
            }
        }
    }
    if let Some(pod) = pod {
        lines.extend(not_listed(run, name, pod, told));
        lines.push(ending(name, pod));
    }
    lines
}

/// The pod in one line.
pub fn line(run: &Run, name: &str) -> String {
    let Some(pod) = run.report.world.pods.get(name) else {
        let held = run.nodes.iter().find_map(|(node, history)| {
            let mut listed = history.moments.iter();
            listed.find_map(|moment| match &moment.what {
                What::Listed { holding } if holding.pod == name => Some((node, history, holding)),
                _ => None,
            })
        });
        return match held {
            Some((node, history, holding)) => {
                format!("{name}: held {} on {node}, gone at the end", on_gpus(history, &holding.ids))
            }
            None => format!("{name}: not known"),
        };
    };
    let (why, node) = (reason(pod), pod.node.as_deref().unwrap_or("no node"));
    let ids: Vec<String> = pod.ids.values().flatten().cloned().collect();
    let holds = match run.nodes.get(node) {
        Some(history) if !ids.is_empty() => format!(" with {}", on_gpus(history, &ids)),
        _ if !ids.is_empty() => format!(" with {}", ids.join(", ")),
        _ => String::new(),
    };
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    format!("{name}: asked for {}, {} on {node}{holds}{why}", wants(&pod.resources), pod.phase)
}

fn wants(resources: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = resources.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
    match parts.as_slice() {
        [] => "no extended resource".to_owned(),
        parts => parts.join(", "),
    }
}

fn asked(name: &str, pod: &Pod) -> String {
    format!("{name} asked for {}", wants(&pod.resources))
}

fn reason(pod: &Pod) -> &str {
    match (&pod.message, &pod.scheduled) {
        (message, _) if !message.is_empty() => message,
        (_, Some(scheduled)) => &scheduled.message,
        _ => &pod.reason,
    }
}

fn scheduled(run: &Run, name: &str, pod: &Pod) -> Vec<String> {
    if let Some(node) = &pod.node {
        return vec![format!("the scheduler bound {name} to {node}")];
    }
    let mut lines = vec![format!("the scheduler found no node for {name}: {}", reason(pod))];
    for (resource, wanted) in &pod.resources {
        let offers: Vec<String> = run
            .report
            .world
            .nodes
            .iter()
            .map(|(node, view)| match view.allocatable.get(resource) {
                Some(count) => format!("{node} {count}"),
                None => format!("{node} none"),
            })
            .collect();
        if !offers.is_empty() {
            lines.push(format!(
                "it wants {wanted} of {resource} on one node; allocatable at the end: {}",
                offers.join(", ")
            ));
        }
    }
    lines
}

/// The story of one holding: the Allocate before it, the confirmation, what happened under it, its end.
fn held(node: &str, history: &History, listed: usize, holding: &Holding) -> Vec<String> {
    let Some(confirmed) = history.moments.get(listed) else {
        return Vec::new();
    };
    let earlier = history.moments.get(..listed).unwrap_or_default();
    let given = earlier.iter().rposition(|moment| gave(moment, holding));
    let mut lines = Vec::new();
    match given.and_then(|at| history.moments.get(at)) {
        Some(moment) => lines.extend(granted(node, history, moment, confirmed)),
        None => lines.push(format!(
            "at {} PodResources on {node} listed it with {} of {}, given out before this plugin was started",
            history.time(confirmed),
            on_gpus(history, &holding.ids),
            holding.resource
        )),
    }
    lines.extend(under_it(history, given.unwrap_or(listed), holding));
    lines
}

/// Whether this Allocate gave these ids.
fn gave(moment: &Moment, holding: &Holding) -> bool {
    matches!(&moment.what, What::Allocated { resource, ids, refused: None, .. }
        if *resource == holding.resource && holding.ids.iter().any(|id| ids.contains(id)))
}

fn granted(node: &str, history: &History, moment: &Moment, confirmed: &Moment) -> Vec<String> {
    let What::Allocated { resource, ids, view, usage, .. } = &moment.what else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "at {} the plugin on {node} granted {resource} {} from view {view}",
        history.time(moment),
        ids.join(", ")
    )];
    lines.extend(choice(history, ids, usage));
    let later = confirmed.at.since(moment.at);
    lines.push(if confirmed.start == moment.start {
        format!("PodResources confirmed it {} later", Time::START + later)
    } else {
        format!("PodResources confirmed it at {}", history.time(confirmed))
    });
    lines
}

/// What happened to its GPUs since they were given, and when it let go.
fn under_it(history: &History, given: usize, holding: &Holding) -> Vec<String> {
    let mut lines = Vec::new();
    for moment in history.moments.iter().skip(given + 1) {
        match &moment.what {
            What::Gpu { uuid, state } if holding.ids.iter().any(|id| gpu_of(id) == uuid) => {
                let gpu = history.gpu(uuid);
                lines.push(format!("at {} its {gpu} was {state}", history.time(moment)));
            }
            What::Released { holding: gone } if gone == holding => {
                lines.push(format!("at {} PodResources did not list it any more", history.time(moment)));
                break;
            }
            _ => {}
        }
    }
    lines
}

/// What is known of a pod that PodResources never listed: a refusal, or a grant that only the report tells.
fn not_listed(run: &Run, name: &str, pod: &Pod, told: usize) -> Vec<String> {
    let Some((node, history)) = pod.node.as_ref().and_then(|node| run.nodes.get_key_value(node)) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for moment in &history.moments {
        let What::Allocated { resource, ids, view, refused, .. } = &moment.what else {
            continue;
        };
        let (at, ids_text) = (history.time(moment), ids.join(", "));
        match refused {
            Some(why) if pod.message.contains(why.as_str()) && pod.resources.contains_key(resource) => {
                lines.push(format!(
                    "at {at} the plugin on {node} refused {resource} {ids_text} from view {view}: {why}"
                ));
            }
            None if told == 0
                && pod.ids.get(resource).is_some_and(|own| ids.iter().all(|id| own.contains(id))) =>
            {
                lines.push(format!(
                    "at {at} the plugin on {node} granted {resource} {ids_text} from view {view}; the journal ends \
                     before PodResources listed {name}"
                ));
            }
            _ => {}
        }
    }
    lines
}

fn ending(name: &str, pod: &Pod) -> String {
    match pod.phase.as_str() {
        "Running" => format!("{name} was running at the end"),
        "Pending" if pod.node.is_none() => format!("{name} stays Pending"),
        phase => {
            let why = reason(pod);
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("{name} ended as {phase}{why}")
        }
    }
}

fn on_gpus(history: &History, ids: &[String]) -> String {
    let parts: Vec<String> = ids.iter().map(|id| format!("{id} ({})", history.gpu(id))).collect();
    parts.join(", ")
}
