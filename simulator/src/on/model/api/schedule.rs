//! The scheduler's pass over the waiting pods. Pods of one template that wait together share one answer, so that a queue
//! of thousands costs one look; who fits where is the fake scheduler's judgement, with a short way for plain pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fake_cluster::scheduler::fit::{NodeView, obstacles};
use fake_cluster::scheduler::{Decision, decide};

use super::super::engine::Engine;
use super::super::happening::PodId;
use super::super::latency::SECOND;
use super::nodes::ApiNode;
use super::template::Template;
use super::{Api, NAMESPACE};

/// Pods that a node takes when its Node object does not say.
const PODS_DEFAULT: u64 = 110;
/// On clusters with more nodes than this, a waiting pod's message is made anew once a second at most.
const NODES_WITH_FRESH_MESSAGES: usize = 64;

/// Pods of one template that have no node.
#[derive(Debug)]
pub(super) struct Waiting {
    template: Arc<Template>,
    pods: BTreeSet<PodId>,
    /// What they were last told.
    told: Option<Told>,
    /// How many of them, in order, have been told.
    told_up_to: Option<PodId>,
}

/// A message and what it was made from.
#[derive(Debug, Clone)]
struct Told {
    message: Arc<str>,
    /// When, in nanoseconds.
    at: u64,
    /// The Nodes' objects as they were.
    objects: u64,
    /// How many nodes were full.
    full: usize,
}

impl Api {
    /// A new pod waits for a node.
    pub(super) fn await_node(&mut self, id: PodId, template: &Arc<Template>) {
        let waiting = self.waiting.entry(template.id).or_insert_with(|| Waiting {
            template: Arc::clone(template),
            pods: BTreeSet::new(),
            told: None,
            told_up_to: None,
        });
        waiting.pods.insert(id);
    }

    /// A pod waits no longer.
    pub(super) fn stop_waiting(&mut self, id: PodId, template: &Template) {
        if let Some(waiting) = self.waiting.get_mut(&template.id) {
            waiting.pods.remove(&id);
            if waiting.pods.is_empty() {
                self.waiting.remove(&template.id);
            }
        }
    }

    /// Binds every waiting pod that fits somewhere, in the order of their creation, and tells the others why not.
    pub(in crate::on::model) fn schedule(&mut self, engine: &mut Engine) {
        self.schedule_due = false;
        if !self.up {
            return;
        }
        let mut refused: BTreeSet<u32> = BTreeSet::new();
        // ends after at most one round per waiting pod and one per template
        while let Some((id, template)) = self.first_waiting(&refused) {
            match self.best_node(&template) {
                Some(node) => self.bind(engine, id, node),
                None => {
                    refused.insert(template.id);
                    self.refuse(engine, &template);
                }
            }
        }
    }

    fn first_waiting(&self, refused: &BTreeSet<u32>) -> Option<(PodId, Arc<Template>)> {
        self.waiting
            .iter()
            .filter(|(template, _)| !refused.contains(template))
            .filter_map(|(_, waiting)| Some((*waiting.pods.first()?, &waiting.template)))
            .min_by_key(|(id, _)| *id)
            .map(|(id, template)| (id, Arc::clone(template)))
    }

    /// The node with the fewest pods among those it fits on, then the first by name.
    fn best_node(&self, template: &Template) -> Option<usize> {
        let fitting = self.nodes.iter().enumerate().filter(|(_, node)| fits(node, template));
        fitting.min_by(|(_, a), (_, b)| (a.pods, &a.name).cmp(&(b.pods, &b.name))).map(|(node, _)| node)
    }

    fn bind(&mut self, engine: &mut Engine, id: PodId, node: usize) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        pod.node = Some(node);
        pod.unschedulable = None;
        let template = Arc::clone(&pod.template);
        if let Some(entry) = self.nodes.get_mut(node) {
            let (name, to) = (&pod.name, &entry.name);
            pod.tell(format!("Scheduled: Successfully assigned {NAMESPACE}/{name} to {to}"));
            for (resource, amount) in &template.requests {
                count(&mut entry.requested, resource, |sum| sum.plus(*amount));
            }
            entry.pods += 1;
            entry.bound.insert(id);
        }
        self.stop_waiting(id, &template);
        self.changes.pod(id, Some(node));
        self.pods_changed(engine, Some(node));
        self.tell_kubelet(engine, node, id);
    }

    /// An ended pod's requests do not count any more.
    pub(super) fn release(&mut self, engine: &mut Engine, id: PodId) {
        let Some(pod) = self.pods.get(&id) else { return };
        let template = Arc::clone(&pod.template);
        if let Some(entry) = pod.node.and_then(|node| self.nodes.get_mut(node)) {
            for (resource, amount) in &template.requests {
                count(&mut entry.requested, resource, |sum| sum.minus(*amount));
            }
            entry.pods = entry.pods.saturating_sub(1);
            self.want_schedule(engine);
        }
    }

    /// Tells every pod of a template why it has no node, unless it was told the same before.
    fn refuse(&mut self, engine: &Engine, template: &Template) {
        let Some(waiting) = self.waiting.get(&template.id) else {
            return;
        };
        let told = self.told(engine, template, waiting.told.as_ref());
        let message = Arc::clone(&told.message);
        let Some(waiting) = self.waiting.get_mut(&template.id) else {
            return;
        };
        let before = waiting.told.replace(told);
        let same = before.is_some_and(|before| Arc::ptr_eq(&before.message, &message));
        let untold = waiting.told_up_to.filter(|_| same);
        for id in waiting.pods.iter().filter(|id| untold.is_none_or(|last| **id > last)) {
            if let Some(pod) = self.pods.get_mut(id) {
                pod.unschedulable = Some(Arc::clone(&message));
                pod.tell(format!("FailedScheduling: {message}"));
                self.changes.pod(*id, None);
            }
        }
        waiting.told_up_to = waiting.pods.last().copied();
    }

    /// The message for pods of a template, made anew only when it can have changed.
    fn told(&self, engine: &Engine, template: &Template, before: Option<&Told>) -> Told {
        let now = engine.now();
        let full = self.nodes.iter().filter(|node| is_full(node)).count();
        let large = self.nodes.len() > NODES_WITH_FRESH_MESSAGES;
        // with one resource asked for, a node that lacks it lacks it in the same words whatever is taken
        let same = |told: &&Told| {
            template.requests.len() <= 1 && told.objects == self.objects_stored && told.full == full
        };
        let recent = |told: &&Told| large && now < told.at + SECOND;
        if let Some(told) = before.filter(|told| same(told) || recent(told)) {
            return told.clone();
        }
        let fresh = self.message(template);
        let message = match before {
            Some(told) if told.message.as_ref() == fresh => Arc::clone(&told.message),
            _ => fresh.into(),
        };
        Told { message, at: now, objects: self.objects_stored, full }
    }

    fn message(&self, template: &Template) -> String {
        let views: Vec<NodeView<'_>> = self.nodes.iter().map(view).collect();
        match decide(&template.object, &views) {
            Decision::Unschedulable { message } => message,
            Decision::Bind { node } => format!("node `{node}` fits and was not chosen"),
        }
    }
}

fn count(
    amounts: &mut BTreeMap<String, fake_cluster::api::Quantity>,
    resource: &str,
    change: impl FnOnce(fake_cluster::api::Quantity) -> fake_cluster::api::Quantity,
) {
    match amounts.get_mut(resource) {
        Some(sum) => *sum = change(*sum),
        None => {
            amounts.insert(resource.to_owned(), change(Default::default()));
        }
    }
}

fn view(node: &ApiNode) -> NodeView<'_> {
    NodeView { node: &node.object, requested: node.requested.clone(), pods: node.pods }
}

fn is_full(node: &ApiNode) -> bool {
    let pods_max = node.allocatable.get("pods");
    node.pods >= pods_max.map_or(PODS_DEFAULT, |amount| amount.count())
}

fn fits(node: &ApiNode, template: &Template) -> bool {
    if !(node.plain && template.plain) {
        return obstacles(&template.object, &view(node)).is_empty();
    }
    let has_room = |(resource, asked): &(String, fake_cluster::api::Quantity)| {
        let offered = node.allocatable.get(resource).copied().unwrap_or_default();
        let taken = node.requested.get(resource).copied().unwrap_or_default();
        asked.milli <= 0 || *asked <= offered.minus(taken)
    };
    !is_full(node) && template.requests.iter().all(has_room)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An API server with nodes that offer GPUs, and the pod that asks for some.
    fn cluster(gpus: &[u64]) -> (Api, Engine) {
        let mut api = Api::new().unwrap();
        let mut engine = Engine::new(1);
        for (number, gpus) in gpus.iter().enumerate() {
            let name = format!("node-{number}");
            api.add_node(&engine, &name, &BTreeMap::new()).unwrap();
            let figures = BTreeMap::from([("nvidia.com/gpu".to_owned(), (*gpus, *gpus))]);
            assert!(api.write_node_status(&mut engine, number, &figures));
        }
        (api, engine)
    }

    fn template(api: &mut Api, engine: &Engine, gpus: u64) -> Arc<Template> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]}});
        api.template(engine, &pod).unwrap()
    }

    #[test]
    fn the_short_way_and_the_fake_scheduler_judge_alike() {
        for (gpus, asked) in [(0, 0), (0, 1), (1, 1), (4, 4), (4, 5)] {
            let (mut api, engine) = cluster(&[gpus]);
            let template = template(&mut api, &engine, asked);
            let node = &api.nodes[0];
            assert!(node.plain && template.plain);
            let long = obstacles(&template.object, &view(node)).is_empty();
            assert_eq!(fits(node, &template), long, "{asked} of {gpus}");
        }
    }

    #[test]
    fn pods_fill_the_emptiest_node_first_and_the_rest_is_told_why() {
        let (mut api, mut engine) = cluster(&[1, 2]);
        let one = template(&mut api, &engine, 1);
        let five = template(&mut api, &engine, 5);
        let fate = super::super::pods::Fate::Stays;
        let names = ["a", "b", "c", "d"];
        let ids: Vec<PodId> =
            names.iter().map(|n| api.create_pod(&mut engine, &one, n, fate).unwrap()).collect();
        let big = api.create_pod(&mut engine, &five, "big", fate).unwrap();
        assert!(api.create_pod(&mut engine, &one, "a", fate).is_err());
        api.schedule(&mut engine);
        let nodes: Vec<Option<usize>> = ids.iter().map(|id| api.pods[id].node).collect();
        assert_eq!(nodes, [Some(0), Some(1), Some(1), None]);
        let told = api.pods[&big].scheduled().unwrap();
        assert_eq!(told.reason, "Unschedulable");
        assert!(told.message.starts_with("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."));
        api.schedule(&mut engine);
        assert_eq!(api.pods[&big].events.len(), 1, "told once");
        api.delete_pod(&mut engine, ids[3]);
        assert!(!api.names.contains_key("d"));
    }
}
