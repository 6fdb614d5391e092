//! Keeps a plugin's start and its kubelet's apart. A kubelet that starts lists no pod for a moment, and a plugin that starts
//! in that moment has nothing to tell it from a free node: it converts GPUs that are held. That is a known defect of the
//! plugin, and would be all that the fuzzer finds.

use crate::faults::{Fault, FaultSpec};

/// How long a start, and the moment after it, take at most.
pub(super) const MEETING_MS: u64 = 1_000;
/// How long a program that died is backed off.
const BACK_OFF_MS: u64 = 10_000;
/// How long a fault lasts that needs a time and has none.
const LASTS_MS: u64 = 5_000;

/// The starts that a story brings about.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// The story's time.
    pub(super) now_ms: u64,
    kubelets: Vec<Span>,
    plugins: Vec<Span>,
}

/// A node, from when to when.
#[derive(Debug)]
struct Span {
    node: String,
    from: u64,
    to: u64,
}

impl Starts {
    /// Takes a fault into account; `false` when it must not happen now.
    pub(super) fn take(&mut self, spec: &FaultSpec) -> bool {
        let lasts = spec.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        let span = |takes: u64| Span {
            node: spec.node.clone(),
            from: self.now_ms,
            to: self.now_ms.saturating_add(takes).saturating_add(MEETING_MS),
        };
        let (span, is_kubelets) = match spec.fault {
            Fault::PluginCrash | Fault::PluginRestart => (span(0), false),
            Fault::PluginUpgrade => (span(lasts.unwrap_or(LASTS_MS)), false),
            Fault::PluginOomKilled => (span(lasts.unwrap_or(BACK_OFF_MS)), false),
            Fault::KubeletRestart => (span(lasts.unwrap_or(0)), true),
            Fault::KubeletSocketRace
            | Fault::PodResourcesEmpty
            | Fault::PluginDirectoryRecreated
            | Fault::CheckpointLost
            | Fault::NodeRecreated => (span(lasts.unwrap_or(LASTS_MS)), true),
            _ => return true,
        };
        let others = if is_kubelets { &self.plugins } else { &self.kubelets };
        let meets = |other: &Span| other.node == span.node && other.from <= span.to && span.from <= other.to;
        if others.iter().any(meets) {
            return false;
        }
        if is_kubelets { &mut self.kubelets } else { &mut self.plugins }.push(span);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_plugin_does_not_start_while_its_kubelet_does() {
        let spec = |fault, node: &str, lasts: Option<u64>| FaultSpec {
            fault,
            node: node.to_owned(),
            lasts: lasts.map(Duration::from_millis),
        };
        let mut starts = Starts::default();
        assert!(starts.take(&spec(Fault::KubeletRestart, "a", Some(5_000))));
        assert!(!starts.take(&spec(Fault::PluginCrash, "a", None)));
        assert!(starts.take(&spec(Fault::PluginCrash, "b", None)));
        starts.now_ms = 6_500;
        assert!(starts.take(&spec(Fault::PluginOomKilled, "a", None)));
        starts.now_ms = 15_000;
        assert!(!starts.take(&spec(Fault::PodResourcesEmpty, "a", None)));
    }
}
