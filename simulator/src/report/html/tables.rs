//! The final state as tables, because not everybody reads a picture, and some want to copy from it.

use super::escape;
use super::page::push;
use crate::timeline::{GpuLane, PodLane, Span, Timeline};

/// The most pods in the table of the final state; the rest is counted.
const PODS_SHOWN_MAX: usize = 1000;
/// The most GPUs in the table of the final state; the rest is counted.
const GPUS_SHOWN_MAX: usize = 2000;

/// The last state as tables: nodes and GPUs, then pods.
pub(super) fn final_state(timeline: &Timeline) -> String {
    let mut out = String::from(
        "<table><caption>GPUs</caption><thead><tr><th scope=\"col\">Node</th><th scope=\"col\">GPU</th>\
         <th scope=\"col\">Resource</th><th scope=\"col\">Strategy</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Held by</th></tr></thead><tbody>\n",
    );
    let all =
        timeline.nodes.iter().flat_map(|node| node.gpus.iter().map(move |gpu| (node.name.as_str(), gpu)));
    for (node, gpu) in all.clone().take(GPUS_SHOWN_MAX) {
        gpu_row(&mut out, node, gpu);
    }
    let left_out = all.count().saturating_sub(GPUS_SHOWN_MAX);
    for node in timeline.nodes.iter().filter(|node| node.gpus.is_empty()) {
        push(
            &mut out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td colspan=\"5\">no GPU</td></tr>\n",
                escape(&node.name)
            ),
        );
    }
    out.push_str("</tbody></table>\n");
    push_left_out(&mut out, left_out, "GPUs");
    out.push_str(
        "<table><caption>Pods</caption><thead><tr><th scope=\"col\">Pod</th><th scope=\"col\">Asks for</th>\
         <th scope=\"col\">Phase</th><th scope=\"col\">Node</th><th scope=\"col\">Devices</th>\
         <th scope=\"col\">Why</th></tr></thead><tbody>\n",
    );
    let mut pods: Vec<&PodLane> = timeline.pods.iter().collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    for pod in pods.iter().take(PODS_SHOWN_MAX) {
        pod_row(&mut out, pod);
    }
    out.push_str("</tbody></table>\n");
    push_left_out(&mut out, pods.len().saturating_sub(PODS_SHOWN_MAX), "pods");
    out
}

fn gpu_row(out: &mut String, node: &str, gpu: &GpuLane) {
    let last = last(&gpu.spans, gpu.there);
    let text = |value: Option<&String>| value.map_or("–".to_owned(), |text| escape(text));
    let state = last.map_or("gone".to_owned(), |was| match &was.ill {
        Some(why) => format!("{}, ill: {why}", was.state),
        None => was.state.clone(),
    });
    let holders: Vec<&str> =
        last.map(|was| was.holders.iter().map(|holder| holder.pod.as_str()).collect()).unwrap_or_default();
    let shares = last.map_or(0, |was| was.replicas);
    push(
        out,
        format_args!(
            "<tr><th scope=\"row\">{}</th><td><abbr title=\"{}\">{}</abbr></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(node),
            escape(&gpu.uuid),
            gpu.index,
            text(last.and_then(|was| was.role.as_ref())),
            text(last.and_then(|was| was.strategy.as_ref()).map(|word| format!("{word} ×{shares}")).as_ref()),
            escape(&state),
            escape(&holders.join(", ")),
        ),
    );
}

fn pod_row(out: &mut String, pod: &PodLane) {
    let asks: Vec<String> = pod.asks.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    let last = last(&pod.spans, pod.there);
    push(
        out,
        format_args!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&pod.name),
            escape(&asks.join(", ")),
            last.map_or("deleted".to_owned(), |was| escape(&was.phase)),
            last.and_then(|was| was.node.as_ref()).map_or("–".to_owned(), |node| escape(node)),
            last.map_or(String::new(), |was| escape(&was.ids.join(", "))),
            last.map_or(String::new(), |was| escape(&was.reason)),
        ),
    );
}

/// What was still so at the end.
fn last<T>(spans: &[Span<T>], there: bool) -> Option<&T> {
    spans.last().filter(|_| there).map(|span| &span.is)
}

fn push_left_out(out: &mut String, count: usize, of: &str) {
    if count > 0 {
        push(out, format_args!("<p>… and {count} more {of}</p>\n"));
    }
}
