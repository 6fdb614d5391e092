//! What was asked of a node, and the role that its GPUs may therefore play at rest.

use super::story::Label;
use crate::world::NodeView;

/// The resource of whole GPUs.
pub(super) const GPU: &str = "nvidia.com/gpu";

/// What was asked of one node so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How many GPUs the node has.
    pub gpus: u32,
    newest: Label,
    /// Every label so far that named a configuration which can hold.
    good: Vec<Label>,
    /// The label was wrong before the plugin had any configuration.
    wrong_from_start: bool,
}

/// How the GPUs of a node are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The extended resource.
    pub resource: &'static str,
    /// Devices of each free GPU.
    pub replicas: u64,
    /// The value of the label that names the strategy.
    pub strategy: &'static str,
    /// Whether each GPU has an MPS control daemon.
    pub mps: bool,
}

impl Wishes {
    /// A node without the label.
    pub fn new(gpus: u32) -> Wishes {
        Wishes { gpus, newest: Label::Absent, good: vec![Label::Absent], wrong_from_start: false }
    }

    /// The label changes; `early` while the plugin has no configuration yet.
    pub fn flip(&mut self, label: Label, early: bool) {
        self.newest = label;
        if label.is_good() {
            self.good.push(label);
            self.wrong_from_start = false;
        } else {
            self.wrong_from_start |= early;
        }
    }

    /// The roles that the node's GPUs may play at rest: the one that is asked for; after a wrong label any that was good
    /// once, the newest first, because only the plugin knows which one it read last.
    pub fn roles(&self) -> Vec<Role> {
        let labels = match self.newest.is_good() {
            true => std::slice::from_ref(&self.newest),
            false => &self.good,
        };
        let mut roles: Vec<Role> = labels.iter().rev().map(role).collect();
        roles.dedup();
        roles
    }

    /// Whether a plugin may be without any configuration: it started while the label was wrong, and has no last good one.
    pub(super) fn may_have_none(&self, node: &NodeView) -> bool {
        let started_again = node.plugin.starts > 1;
        !self.newest.is_good() && (started_again || self.wrong_from_start)
    }
}

/// The role that a label asks for.
pub(super) fn role(label: &Label) -> Role {
    match label {
        Label::Shared(sharing) => Role {
            resource: sharing.resource(),
            replicas: u64::from(sharing.replicas),
            strategy: if sharing.mps { "mps" } else { "time-slicing" },
            mps: sharing.mps,
        },
        Label::Absent | Label::Default | Label::Broken | Label::Missing => {
            Role { resource: GPU, replicas: 1, strategy: "none", mps: false }
        }
    }
}
