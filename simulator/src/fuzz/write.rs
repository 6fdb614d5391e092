//! A story as a scenario file, because what the fuzzer finds must be readable, editable and playable by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::run::SETTLES_WITHIN;
use super::shrink::Failing;
use super::story::{Step, Story};
use crate::faults::FaultSpec;

/// The board of every made-up node.
const BOARD: &str = "tesla-t4";
/// The invariant that the fuzzer excuses after faults and flips, by its name in scenarios.
const REFUSALS: &str = "noRefusal";

/// The file up to its steps, with one that does nothing: what a stage is started from.
pub fn cluster(story: &Story) -> String {
    let mut text = head(story, "A story that the fuzzer made up.", &BTreeSet::new());
    text.push_str("- wait: 1ms\n");
    text
}

/// The whole file.
pub fn file(failing: &Failing) -> String {
    let Failing { story, seed, failure, .. } = failing;
    let mut text =
        format!("# Found by `tandem-sim fuzz`; seed {seed} decides every latency of the model stage.\n");
    for line in failure.to_string().lines() {
        let _ = writeln!(text, "# {line}");
    }
    text.push_str(&head(story, &format!("{}.", failure.kind), &failing.excused));
    for step in &story.steps {
        let _ = writeln!(text, "- {}", self::step(step));
    }
    let rest = SETTLES_WITHIN.as_secs();
    let _ = writeln!(text, "- advance: {rest}s");
    let has_pods = story.steps.iter().any(|step| matches!(step, Step::Create(_)));
    if failure.emptied && has_pods {
        let _ = writeln!(text, "- delete: {{pods: [\"*\"]}}\n- advance: {rest}s");
    }
    if let Some(demand) = &failure.demand {
        let _ = writeln!(text, "- name: the cluster is at rest\n  expect: {{within: 5s, {demand}}}");
    }
    text
}

fn head(story: &Story, what: &str, excused: &BTreeSet<&'static str>) -> String {
    let mut text =
        format!("story: |\n  {what}\nnotOn: {{wire: the seed decides latencies of the model stage}}\n");
    if excused.contains(REFUSALS) {
        let _ = writeln!(text, "# a fault or a flip cut a call off\nexcuses: [{REFUSALS}]");
    }
    if story.quick_timers {
        text.push_str(
            "timers: {nodeStatusUpdate: 1s, endpointGrace: 30s, termination: 1s, configMapSync: 1s}\n",
        );
    }
    // a GPU that is lost for a while must not end a plugin that starts meanwhile
    text.push_str("plugin: {args: [--fail-on-init-error=false]}\nnodes:\n");
    for node in &story.nodes {
        let _ = match node.gpus {
            0 => writeln!(text, "- {{name: {}}}", node.name),
            gpus => writeln!(text, "- {{name: {}, gpus: {{board: {BOARD}, count: {gpus}}}}}", node.name),
        };
    }
    text.push_str("configs:\n");
    for (name, config) in story.configs() {
        let _ = writeln!(text, "  {name}: |-");
        for line in config.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text.push_str("steps:\n");
    text
}

fn step(step: &Step) -> String {
    match step {
        Step::Flip { node, label } => {
            let key = plugin_core::settings::CONFIG_LABEL;
            match label.value() {
                Some(value) => format!("label: {{node: {node}, set: {{{key}: {value}}}}}"),
                None => format!("unlabel: {{node: {node}, keys: [{key}]}}"),
            }
        }
        Step::Create(pod) => format!("apply: [{{manifest: {}}}]", flow(&pod.manifest())),
        Step::Delete(names) => format!("delete: {{pods: [{}]}}", names.join(", ")),
        Step::Fault(spec) => format!("fault: {}", fault(spec)),
        Step::Wait(time) => format!("wait: {}", duration(*time)),
    }
}

fn fault(spec: &FaultSpec) -> String {
    let mut fields = vec![format!("kind: {}", spec.fault.tag())];
    if !spec.fault.is_of_cluster() {
        fields.push(format!("node: {}", spec.node));
    }
    if let Some(gpu) = spec.fault.gpu() {
        fields.push(format!("gpu: {gpu}"));
    }
    if let Some(code) = spec.fault.code() {
        fields.push(format!("code: {code}"));
    }
    if let Some(delay) = spec.fault.delay() {
        fields.push(format!("delay: {}", duration(delay)));
    }
    if let Some(lasts) = spec.lasts {
        fields.push(format!("lasts: {}", duration(lasts)));
    }
    format!("{{{}}}", fields.join(", "))
}

fn duration(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// JSON as YAML in one line, without quotes where none are needed.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items = items.iter().map(flow);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) if text.contains(':') => format!("\"{text}\""),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
