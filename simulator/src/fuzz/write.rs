//! A story as a scenario file, because what the fuzzer finds must be readable, editable and playable by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::ground::{Ground, Patience};
use super::label::EDITED;
use super::shrink::Failing;
use super::story::{Machine, Step, Story, Timers};
use super::wire::Seen;
use crate::faults::FaultSpec;
use crate::on::model::ModelStage;

/// The board of made-up nodes.
const BOARD: &str = "tesla-t4";
/// The board of those with MIG devices.
const BOARD_OF_PARTS: &str = "a100-sxm4-40gb";
/// How patient the stage is on which a file is played again.
const PATIENCE: Patience = <ModelStage as Ground>::PATIENCE;

/// The file up to its steps, with one that does nothing and the edits: what a stage is started from, and what it should
/// know of all configurations to come.
pub fn cluster(story: &Story) -> String {
    let mut text = head(story, "A story that the fuzzer made up.", &BTreeSet::new());
    text.push_str("- wait: 1ms\n");
    for step in story.steps.iter().filter(|step| matches!(step, Step::Edit(_))) {
        let _ = writeln!(text, "- {}", self::step(step));
    }
    text
}

/// The whole file.
pub fn file(failing: &Failing) -> String {
    let Failing { story, seed, failure, .. } = failing;
    let decides = if is_real(story) { "is its story" } else { "decides every latency of the model stage" };
    let mut text = format!("# Found by `tandem-sim fuzz`; seed {seed} {decides}.\n");
    for line in failure.to_string().lines() {
        let _ = writeln!(text, "# {line}");
    }
    text.push_str(&head(story, &format!("{}.", failure.kind), &failing.excused));
    for step in &story.steps {
        let _ = writeln!(text, "- {}", self::step(step));
    }
    let rest = PATIENCE.settles_within.as_secs();
    // real time is waited for in the demand alone
    let (advance, within) = match is_real(story) {
        true => (String::new(), <Seen as Ground>::PATIENCE.settles_within.as_secs()),
        false => (format!("- advance: {rest}s\n"), 5),
    };
    text.push_str(&advance);
    let has_pods = story.steps.iter().any(|step| matches!(step, Step::Create(_)));
    if failure.emptied && has_pods {
        let _ = write!(text, "- delete: {{pods: [\"*\"]}}\n{advance}");
    }
    if let Some(demand) = &failure.demand {
        let _ = writeln!(text, "- name: the cluster is at rest\n  expect: {{within: {within}s, {demand}}}");
    }
    text
}

fn head(story: &Story, what: &str, excused: &BTreeSet<&'static str>) -> String {
    let mut text = format!("story: |\n  {what}\n");
    if !is_real(story) {
        text.push_str("notOn: {wire: the seed decides latencies of the model stage}\n");
    }
    if !excused.is_empty() {
        let words: Vec<&str> = excused.iter().copied().collect();
        let _ = writeln!(text, "# what a fault or a flip explains\nexcuses: [{}]", words.join(", "));
    }
    text.push_str(match story.timers {
        Timers::Real => "",
        Timers::Quick => {
            "timers: {nodeStatusUpdate: 1s, endpointGrace: 30s, termination: 1s, configMapSync: 1s}\n"
        }
        Timers::Short => {
            "timers: {nodeStatusUpdate: 200ms, endpointGrace: 5s, termination: 100ms, configMapSync: 200ms, crashBackOff: \
             300ms, kubeletRestart: 300ms}\n"
        }
    });
    // a GPU that is lost for a while must not end a plugin that starts meanwhile
    text.push_str("plugin:\n  args: [--fail-on-init-error=false]\n");
    if is_real(story) {
        text.push_str("  env: {RETIRE_AFTER: 500ms, GPU_LOOK: 2s}\n");
    }
    text.push_str("nodes:\n");
    for node in &story.nodes {
        let _ = writeln!(text, "- {}", machine(node));
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

/// Whether it is played in real time.
fn is_real(story: &Story) -> bool {
    story.timers == Timers::Short
}

fn machine(node: &Machine) -> String {
    let Machine { name, gpus, mig } = node;
    match (gpus, mig) {
        (0, _) => format!("{{name: {name}}}"),
        (gpus, None) => format!("{{name: {name}, gpus: {{board: {BOARD}, count: {gpus}}}}}"),
        (gpus, Some(cut)) => {
            let parts = vec![cut.profile.name(); cut.count as usize].join(", ");
            format!("{{name: {name}, gpus: {{board: {BOARD_OF_PARTS}, count: {gpus}, mig: [{parts}]}}}}")
        }
    }
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
        Step::Edit(label) => {
            let text = serde_json::Value::from(label.text(None).unwrap_or_default());
            format!("edit: {{config: {EDITED}, text: {text}}}")
        }
        Step::Finish(names) => format!("finish: {{pods: [{}], exitCode: 0}}", names.join(", ")),
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
