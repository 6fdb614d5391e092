//! Which refusals are a disturbance's and not the plugin's, because a kubelet and a plugin that lose each other refuse
//! pods by Kubernetes' own rules: a restart, a crash or a boot cuts off whatever is being admitted.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::expect::glob;
use crate::scenario::{Process, Verb};
use crate::world::World;

/// How long after a disturbance pods may still fail of it: a start, the kubelet's ten seconds for a call, and a full
/// queue of admissions.
const AFTERMATH: Duration = Duration::from_secs(60);
/// What a kubelet says when it has no device, or no plugin, that the scheduler believed in (Kubernetes 1.36).
const CUT_OFF: &[&str] = &[
    "no healthy devices present",
    "requested number of devices unavailable",
    "rpc error: code = Unavailable",
];

/// What a scenario has disturbed so far.
#[derive(Debug, Default)]
pub(super) struct Disturbances {
    /// A node's name or a glob, and until when; one for each step at most.
    spans: Vec<(String, Duration)>,
    /// Pods that were refused in such a time.
    refused: BTreeSet<String>,
}

impl Disturbances {
    /// A step begins.
    pub(super) fn note(&mut self, verb: &Verb, now: Duration) {
        let (node, lasts) = match verb {
            Verb::Kill { process: Process::Kubelet | Process::Plugin, node }
            | Verb::Restart { process: Process::Kubelet | Process::Plugin, node } => (node, Duration::ZERO),
            Verb::Fault { spec, .. } if spec.fault.cuts_calls() => {
                (&spec.node, spec.lasts.unwrap_or_default())
            }
            _ => return,
        };
        let until = now.saturating_add(lasts).saturating_add(AFTERMATH);
        self.spans.push((node.clone(), until));
    }

    /// Whether a pod's refusal is a disturbance's.
    pub(super) fn explain(&mut self, world: &World, sentence: &str, now: Duration) -> bool {
        let after = sentence.split_once("pod `").map(|(_, after)| after);
        let Some((name, _)) = after.and_then(|after| after.split_once("` failed")) else {
            return false;
        };
        if self.refused.contains(name) {
            return true;
        }
        let Some(pod) = world.pods.get(name) else { return false };
        let node = pod.node.as_deref().unwrap_or_default();
        let disturbed = self.spans.iter().any(|(over, until)| glob(over, node) && now <= *until);
        let is_cut_off = CUT_OFF.iter().any(|words| pod.message.contains(words));
        if disturbed && is_cut_off {
            self.refused.insert(name.to_owned());
        }
        disturbed && is_cut_off
    }
}
