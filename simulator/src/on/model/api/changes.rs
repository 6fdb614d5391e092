//! What can be seen and has changed since the last look, so that a look costs what has changed and not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::happening::{Labels, PodId};

/// What of a node looks different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::on::model) struct Parts {
    /// The API object.
    pub(in crate::on::model) object: bool,
    /// The GPUs as their driver shows them.
    pub(in crate::on::model) gpus: bool,
    /// Who holds them.
    pub(in crate::on::model) holders: bool,
    /// The processes and what they say of themselves.
    pub(in crate::on::model) processes: bool,
}

impl Parts {
    /// Everything of a node.
    pub(in crate::on::model) const ALL: Parts =
        Parts { object: true, gpus: true, holders: true, processes: true };

    fn add(&mut self, more: Parts) {
        self.object |= more.object;
        self.gpus |= more.gpus;
        self.holders |= more.holders;
        self.processes |= more.processes;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::on::model) struct Changes {
    /// Whether somebody keeps a view; without one nothing is collected.
    watched: bool,
    /// Whether invariants are judged; without them nothing is collected.
    is_judged: bool,
    any: bool,
    nodes: BTreeMap<usize, Parts>,
    pods: BTreeSet<PodId>,
    to_judge: ToJudge,
}

/// What invariants have to be judged about, at times more than once.
#[derive(Debug, Default)]
pub(in crate::on::model) struct ToJudge {
    /// Labels that nodes had.
    pub(in crate::on::model) labels: Vec<(usize, Arc<Labels>)>,
    /// Nodes whose object or device lists changed.
    pub(in crate::on::model) nodes: Vec<usize>,
    /// Nodes whose GPUs may have changed.
    pub(in crate::on::model) gpus: Vec<usize>,
    /// Pods that changed, came or went.
    pub(in crate::on::model) pods: Vec<PodId>,
}

impl Changes {
    /// A node's Node object looks different; it may have had these labels for a moment only.
    pub(in crate::on::model) fn object(&mut self, node: usize, labels: &Arc<Labels>) {
        if self.is_judged {
            self.to_judge.labels.push((node, Arc::clone(labels)));
        }
        self.list(node);
        self.add(node, Parts { object: true, ..Parts::default() });
    }

    /// A node's kubelet has another device list.
    pub(in crate::on::model) fn list(&mut self, node: usize) {
        if self.is_judged && self.to_judge.nodes.last() != Some(&node) {
            self.to_judge.nodes.push(node);
        }
    }

    /// Anything else of a node looks different.
    pub(in crate::on::model) fn node(&mut self, node: usize) {
        if self.is_judged && self.to_judge.gpus.last() != Some(&node) {
            self.to_judge.gpus.push(node);
        }
        self.add(node, Parts { object: false, ..Parts::ALL });
    }

    /// A pod looks different, and with it who holds the GPUs of its node.
    pub(in crate::on::model) fn pod(&mut self, pod: PodId, node: Option<usize>) {
        self.any = true;
        if self.is_judged {
            self.to_judge.pods.push(pod);
        }
        if self.watched {
            self.pods.insert(pod);
        }
        if let Some(node) = node {
            self.add(node, Parts { holders: true, ..Parts::default() });
        }
    }

    fn add(&mut self, node: usize, parts: Parts) {
        self.any = true;
        if self.watched {
            self.nodes.entry(node).or_default().add(parts);
        }
    }

    /// Whether anything looks different since the last time this was asked.
    pub(in crate::on::model) fn take_any(&mut self) -> bool {
        std::mem::take(&mut self.any)
    }

    /// Collects what is to be judged from now on.
    pub(in crate::on::model) fn judge(&mut self) {
        self.is_judged = true;
    }

    /// What is to be judged since the last time.
    pub(in crate::on::model) fn take_to_judge(&mut self) -> ToJudge {
        std::mem::take(&mut self.to_judge)
    }

    /// Collects what looks different from now on; what changed before is everything.
    pub(in crate::on::model) fn watch(&mut self) {
        self.watched = true;
    }

    /// What looks different since the last time; nodes and pods.
    pub(in crate::on::model) fn take(&mut self) -> (BTreeMap<usize, Parts>, BTreeSet<PodId>) {
        (std::mem::take(&mut self.nodes), std::mem::take(&mut self.pods))
    }
}
