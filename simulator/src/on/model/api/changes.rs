//! What can be seen and has changed since the last look, so that a look costs what has changed and not what there is.

use std::collections::BTreeSet;

use super::super::happening::PodId;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::on::model) struct Changes {
    /// Whether somebody keeps a view; without one nothing is collected.
    watched: bool,
    any: bool,
    nodes: BTreeSet<usize>,
    pods: BTreeSet<PodId>,
}

impl Changes {
    /// A node looks different.
    pub(in crate::on::model) fn node(&mut self, node: usize) {
        self.any = true;
        if self.watched {
            self.nodes.insert(node);
        }
    }

    /// A pod looks different, and with it its node.
    pub(in crate::on::model) fn pod(&mut self, pod: PodId, node: Option<usize>) {
        self.any = true;
        if self.watched {
            self.pods.insert(pod);
            self.nodes.extend(node);
        }
    }

    /// Whether anything looks different since the last time this was asked.
    pub(in crate::on::model) fn take_any(&mut self) -> bool {
        std::mem::take(&mut self.any)
    }

    /// Collects from now on; what changed before is everything.
    pub(in crate::on::model) fn watch(&mut self) {
        self.watched = true;
    }

    /// What looks different since the last time; nodes and pods.
    pub(in crate::on::model) fn take(&mut self) -> (BTreeSet<usize>, BTreeSet<PodId>) {
        (std::mem::take(&mut self.nodes), std::mem::take(&mut self.pods))
    }
}
