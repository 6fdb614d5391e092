//! The life of every GPU of a node: its roles, its drains and who held it.

use super::history::{History, What};
use crate::world::gpu_of;

/// A section per GPU, then what the plugin said meanwhile.
pub fn lives(node: &str, history: &History) -> Vec<String> {
    let mut gpus: Vec<(&String, &u32)> = history.gpus.iter().collect();
    gpus.sort_by_key(|(_, index)| **index);
    let mut lines = Vec::new();
    for (uuid, index) in gpus {
        lines.push(format!("{node} GPU {index} ({uuid})"));
        lines.extend(life(history, uuid).into_iter().map(|line| format!("  {line}")));
    }
    let head = match history.gpus.len() {
        0 => format!("{node} (no GPU was found)"),
        _ => format!("{node} plugin"),
    };
    lines.push(head);
    lines.extend(said(history).into_iter().map(|line| format!("  {line}")));
    lines
}

fn life(history: &History, gpu: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for moment in &history.moments {
        let at = history.time(moment);
        let on_it = |ids: &[String]| {
            let ids: Vec<&str> = ids.iter().map(String::as_str).filter(|id| gpu_of(id) == gpu).collect();
            (!ids.is_empty()).then(|| ids.join(", "))
        };
        match &moment.what {
            What::Gpu { uuid, state } if uuid == gpu => lines.push(format!("{at}  {state}")),
            What::Allocated { resource, ids, refused, .. } => {
                if let Some(ids) = on_it(ids) {
                    let answer = if refused.is_none() { "granted" } else { "refused" };
                    lines.push(format!("{at}  {answer} {resource} {ids}"));
                }
            }
            What::Listed { holding } => {
                if let Some(ids) = on_it(&holding.ids) {
                    lines.push(format!("{at}  held by {} as {ids}", holding.pod));
                }
            }
            What::Released { holding } => {
                if let Some(ids) = on_it(&holding.ids) {
                    lines.push(format!("{at}  {} let go of {ids}", holding.pod));
                }
            }
            _ => {}
        }
    }
    lines
}

fn said(history: &History) -> Vec<String> {
    let tell = |moment: &super::history::Moment| {
        let text = match &moment.what {
            What::Started => "started".to_owned(),
            What::Ended { why } => format!("ended: {why}"),
            What::Said { warning: true, message } => format!("warning: {message}"),
            What::Said { message, .. } => message.clone(),
            What::Registered { resource } => format!("the kubelet took {resource}"),
            What::Gpu { .. } | What::Allocated { .. } | What::Listed { .. } | What::Released { .. } => {
                return None;
            }
        };
        Some(format!("{}  {text}", history.time(moment)))
    };
    history.moments.iter().filter_map(tell).collect()
}
