//! The names that exist at each step of a scenario, because a step may only speak of what there is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::check::board;
use super::decode::Reader;
use super::fields;
use super::mig;
use super::problem::{Place, nearest};
use super::schema::Scenario;
use super::verb::{Apply, Change, Object, Selection, Step, Verb};
use crate::expect::{Op, Pattern, PatternKind, glob};
use crate::faults::FaultSpec;

/// The names that exist up to the step being checked.
pub(super) struct Seen {
    /// GPUs by node.
    nodes: BTreeMap<String, u32>,
    /// Device plugins that are not ours, by node.
    others: BTreeMap<String, BTreeSet<String>>,
    /// Boards by node.
    boards: BTreeMap<String, String>,
    /// Pods that were ever made.
    pods: BTreeSet<String>,
    /// Pods that nobody has deleted, with their labels.
    alive: BTreeMap<String, BTreeMap<String, String>>,
    configs: BTreeSet<String>,
    /// Deployments that nobody has deleted, with the labels of their pods.
    deployments: BTreeMap<String, BTreeMap<String, String>>,
    /// Named steps.
    pub(super) steps: BTreeSet<String>,
}

impl Seen {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let gpus = |node: &super::NodeSpec| node.gpus.as_ref().map_or(0, |gpus| gpus.count);
        Seen {
            nodes: scenario.nodes.iter().map(|node| (node.name.clone(), gpus(node))).collect(),
            others: scenario.nodes.iter().map(others).collect(),
            boards: scenario
                .nodes
                .iter()
                .filter_map(|node| Some((node.name.clone(), node.gpus.as_ref()?.board.clone())))
                .collect(),
            pods: BTreeSet::new(),
            alive: BTreeMap::new(),
            configs: scenario.configs.keys().cloned().collect(),
            deployments: BTreeMap::new(),
            steps: BTreeSet::new(),
        }
    }

    /// Checks a step and remembers what it makes and takes away.
    pub(super) fn step(&mut self, reader: &mut Reader, step: &Step) {
        let (place, path) = (step.place, step.path.as_str());
        match &step.verb {
            Verb::Label { node, .. }
            | Verb::Unlabel { node, .. }
            | Verb::Restart { node, .. }
            | Verb::Kill { node, .. } => self.node(reader, place, path, node),
            Verb::OtherPlugin { node, name, .. } => {
                self.node(reader, place, path, node);
                let there = self.others.get(node).into_iter().flatten();
                known(reader, place, path, "other plugin", name, there.map(String::as_str));
            }
            Verb::InstallDriver { node, gpus } => {
                self.node(reader, place, path, node);
                board(reader, place, path, &gpus.board);
                self.nodes.insert(node.clone(), gpus.count);
                self.boards.insert(node.clone(), gpus.board.clone());
            }
            Verb::Mig { node, gpu, layout } => {
                self.node(reader, place, path, node);
                if let (Some(board), Some(gpus)) = (self.boards.get(node), self.nodes.get(node)) {
                    let layout = layout.as_deref().unwrap_or_default();
                    mig::check(reader, (place, path), (board, *gpus), *gpu, layout);
                }
            }
            Verb::Apply(all) => all.iter().for_each(|apply| self.apply(reader, place, path, apply)),
            Verb::ApplyAll(objects) => objects.iter().for_each(|o| self.object(reader, place, path, o)),
            Verb::ScaleDeployment { name, count } => {
                known(reader, place, path, "deployment", name, self.deployments.keys().map(String::as_str));
                self.grow(name, *count);
            }
            Verb::DeleteDeployments(names) => {
                for name in names {
                    let all = self.deployments.keys().map(String::as_str);
                    known(reader, place, path, "deployment", name, all);
                    self.deployments.remove(name);
                    self.alive.retain(|pod, _| !belongs(pod, name));
                }
            }
            Verb::Scale { change, .. } => match change {
                Change::Grow(apply) => self.apply(reader, place, path, apply),
                Change::Shrink(names) => names.iter().for_each(|name| {
                    self.alive.remove(name);
                }),
                Change::Nothing => {}
            },
            Verb::Delete(selection) => {
                self.selected(reader, place, path, selection);
                self.alive.retain(|name, labels| !chooses(selection, name, labels));
            }
            Verb::Finish { pods, .. } => self.selected(reader, place, path, pods),
            Verb::Workload(workload) => self.selected(reader, place, path, &workload.pods),
            Verb::Edit { config, text } => self.edit(reader, place, path, config, text.is_some()),
            Verb::Fault { spec, .. } => self.fault(reader, place, path, spec),
            Verb::Wait(_) | Verb::Advance(_) => {}
            Verb::Expect(expectation) => self.pattern(reader, &expectation.pattern, path),
            Verb::Never(watch) | Verb::Sometimes(watch) => self.pattern(reader, &watch.pattern, path),
            Verb::Parallel(steps) => steps.iter().for_each(|step| self.step(reader, step)),
        }
    }

    fn node(&self, reader: &mut Reader, place: Place, path: &str, name: &str) {
        known(reader, place, path, "node", name, self.nodes.keys().map(String::as_str));
    }

    fn pod(&self, reader: &mut Reader, place: Place, path: &str, name: &str) {
        // one that replaces another has a number that only the run knows
        if self.deployments.keys().any(|deployment| belongs(name, deployment)) {
            return;
        }
        known(reader, place, path, "pod", name, self.pods.iter().map(String::as_str));
    }

    fn object(&mut self, reader: &mut Reader, place: Place, path: &str, object: &Object) {
        match object {
            Object::Pods(apply) => self.apply(reader, place, path, apply),
            Object::ConfigMap(configs) => self.configs = configs.keys().cloned().collect(),
            Object::Deployment { name, replicas, manifest } => {
                let template = manifest.pointer("/spec/template").map(labels).unwrap_or_default();
                if self.deployments.insert(name.clone(), template).is_some() {
                    reader.problem(place, path, format!("a second deployment is named `{name}`"));
                }
                self.grow(name, *replicas);
            }
        }
    }

    /// A Deployment has so many pods.
    fn grow(&mut self, deployment: &str, count: u64) {
        let labels = self.deployments.get(deployment).cloned().unwrap_or_default();
        for number in 1..=count {
            let pod = format!("{deployment}-{number}");
            self.alive.insert(pod.clone(), labels.clone());
            self.pods.insert(pod);
        }
    }

    fn apply(&mut self, reader: &mut Reader, place: Place, path: &str, apply: &Apply) {
        for name in &apply.names {
            if self.alive.insert(name.clone(), labels(&apply.manifest)).is_some() {
                reader.problem(place, path, format!("a second pod is named `{name}`"));
            }
            self.pods.insert(name.clone());
        }
    }

    fn selected(&self, reader: &mut Reader, place: Place, path: &str, selection: &Selection) {
        match selection {
            Selection::Names(names) => names.iter().for_each(|name| self.pod(reader, place, path, name)),
            Selection::Labels(_) => {
                let mut alive = self.alive.iter();
                if !alive.any(|(name, labels)| chooses(selection, name, labels)) {
                    reader.problem(place, path, "the selector chooses no pod at this step");
                }
            }
        }
    }

    fn edit(&mut self, reader: &mut Reader, place: Place, path: &str, config: &str, is_written: bool) {
        match is_written {
            true => {
                self.configs.insert(config.to_owned());
            }
            false => {
                let names = self.configs.iter().map(String::as_str);
                known(reader, place, path, "configuration", config, names);
                self.configs.remove(config);
            }
        }
    }

    fn fault(&self, reader: &mut Reader, place: Place, path: &str, spec: &FaultSpec) {
        if spec.fault.is_of_cluster() {
            return;
        }
        self.node(reader, place, path, &spec.node);
        let index = spec.fault.gpu();
        let hit = self.nodes.iter().filter(|(name, _)| glob(&spec.node, name));
        for (name, gpus) in hit {
            if index.is_some_and(|index| index >= *gpus) {
                let message =
                    format!("node `{name}` has {gpus} GPUs; expected an index below, counted from 0");
                reader.problem(place, path, message);
            }
        }
    }

    fn pattern(&self, reader: &mut Reader, pattern: &Pattern, path: &str) {
        let PatternKind::Has(sections) = &pattern.kind else {
            return;
        };
        for (section, inner) in sections {
            let path = format!("{path}.{section}");
            self.references(reader, inner, &path);
            let PatternKind::Has(entries) = &inner.kind else {
                continue;
            };
            for (name, entry) in entries {
                let path = format!("{path}.{name}");
                match section.as_str() {
                    "nodes" => {
                        self.node(reader, entry.place, &path, name);
                        fields::node(reader, entry, &path);
                    }
                    "pods" => {
                        self.pod(reader, entry.place, &path, name);
                        fields::pod(reader, entry, &path);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Checks that steps named by `unchangedSince` came before.
    fn references(&self, reader: &mut Reader, pattern: &Pattern, path: &str) {
        match &pattern.kind {
            PatternKind::Equals(_) => {}
            PatternKind::Has(entries) => entries.iter().for_each(|(_, p)| self.references(reader, p, path)),
            PatternKind::Items(items) => items.iter().for_each(|p| self.references(reader, p, path)),
            PatternKind::Ops(ops) => ops.iter().for_each(|op| match op {
                Op::Contains(inner) | Op::Size(inner) | Op::Each(inner) => {
                    self.references(reader, inner, path)
                }
                Op::Exactly(entries) => entries.iter().for_each(|(_, p)| self.references(reader, p, path)),
                Op::UnchangedSince { step, .. } => {
                    let names = self.steps.iter().map(String::as_str);
                    known(reader, pattern.place, path, "earlier step", step, names);
                }
                Op::Absent(_)
                | Op::ContainsOnce(_)
                | Op::Matches(_)
                | Op::AtLeast(_)
                | Op::AtMost(_)
                | Op::SameAs { .. } => {}
            }),
        }
    }
}

fn others(node: &super::NodeSpec) -> (String, BTreeSet<String>) {
    (node.name.clone(), node.other_plugins.iter().map(|other| other.name.clone()).collect())
}

fn labels(manifest: &Value) -> BTreeMap<String, String> {
    let labels = manifest.pointer("/metadata/labels").and_then(Value::as_object);
    let texts = labels.into_iter().flatten();
    texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether a pod's name is one that a Deployment gives.
fn belongs(pod: &str, deployment: &str) -> bool {
    let number = pod.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a selection chooses a pod.
fn chooses(selection: &Selection, name: &str, labels: &BTreeMap<String, String>) -> bool {
    match selection {
        Selection::Names(names) => names.iter().any(|pattern| glob(pattern, name)),
        Selection::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
    }
}

/// Notes a name that nothing bears.
pub(super) fn known<'a>(
    reader: &mut Reader,
    place: Place,
    path: &str,
    what: &str,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) {
    if names.clone().any(|known| known == name || (name.contains('*') && glob(name, known))) {
        return;
    }
    let hint = match nearest(name, names.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => names.next().map(|first| format!("there is, for example, `{first}`")),
    };
    reader.problem_with_hint(place, path, format!("there is no {what} `{name}` at this step"), hint);
}
