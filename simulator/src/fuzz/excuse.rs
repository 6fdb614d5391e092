//! Which pods may fail and what may lie about: a call that a fault cuts off is refused by Kubernetes itself, and no plugin
//! can prevent that. Every excuse is as narrow as its cause: one node, one time, one kind of message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::faults::{Fault, FaultSpec};
use crate::world::{GpuView, NodeView, World};

/// How long after a fault pods may still fail of it: a start, the kubelet's ten seconds for a call, a full queue of
/// admissions, and a Node object that is written every ten seconds.
const AFTERMATH: Duration = Duration::from_secs(90);
/// How long after the last GPU of a node changed its role the scheduler may still bind pods to devices that a flip has
/// withdrawn, where the plugin could not keep pods away: the Node object lags by the kubelet's status interval.
const NODE_OBJECT_LAGS: Duration = Duration::from_secs(15);
/// How the sentence of the invariant about refusals begins.
const REFUSAL: &str = "no pod fails because of the plugin: pod `";
/// What a kubelet says that has no device which the scheduler believed in, and the plugin to a kubelet whose list is older
/// than its own.
const WITHDRAWN: [&str; 3] = [
    "no healthy devices present",
    "requested number of devices unavailable",
    "the kubelet's device list is older than the plugin's",
];
/// How long after a flip the plugin may be on its way to the taint that keeps pods away, also where no GPU changes its state for
/// it. When an API server goes away after that, the taint stays until the Node's figures have followed.
const TAINTED_WITHIN: Duration = Duration::from_secs(2);
/// How long a boot without a set time takes at most.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// How long a fault lasts that needs a time and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);

/// How long after a fault of the API server the plugin's longest pause before it asks again may last, and one slow answer.
const API_LAGS: Duration = Duration::from_secs(60);
/// How long a config volume may show an older text.
const VOLUME_LAGS: Duration = Duration::from_secs(60);
/// The node of a fault of the whole cluster.
const EVERY_NODE: &str = "*";
/// How the sentence of the invariant about what exists begins.
const TOO_MANY: &str = "allocatable never exceeds what exists: `";
/// The kubelet's first back-off for a container that died.
const BACK_OFF: Duration = Duration::from_secs(10);

/// What has happened so far that explains failures.
#[derive(Debug, Default)]
pub struct Excuses {
    cuts: Vec<Span>,
    flips: Vec<Span>,
    /// Until when the plugin may hear late of a flip.
    late_until: Duration,
    /// While nobody can write what a node has: its kubelet is away, or the API server is, for all nodes.
    mute: Vec<Span>,
    /// Nodes of which a GPU was pulled out.
    unplugged: BTreeMap<String, Unplugged>,
    /// Nodes whose plugin was killed: what it left on disk is its successor's to replace.
    killed: BTreeSet<String>,
    /// Pods that failed of something that explains it.
    excused: BTreeSet<String>,
    /// The invariants that were excused, by their names in scenarios.
    pub used: BTreeSet<&'static str>,
}

/// A node, from when to when.
#[derive(Debug)]
struct Span {
    node: String,
    from: Duration,
    to: Duration,
    /// GPUs of the node changed their roles when it was last looked at, and so until the next look.
    changing: bool,
    /// It explains what fails meanwhile.
    excuses: bool,
}

/// A GPU was pulled out, and the plugin or the Node object has not followed yet.
#[derive(Debug)]
struct Unplugged {
    until: Duration,
    /// The plugin did not know when it was last looked at, and so until the next look.
    believed: bool,
}

impl Excuses {
    /// A fault began and has taken effect now; the answer is when it is over.
    pub fn fault(&mut self, spec: &FaultSpec, began: Duration, now: Duration) -> Duration {
        let lasts = match (spec.fault, spec.lasts) {
            (_, Some(lasts)) => lasts,
            (Fault::NodeReboot, None) => BOOT_MAX,
            (Fault::PluginOomKilled | Fault::MpsOomKilled, None) => BACK_OFF,
            // a restart without a duration is over at once
            (Fault::KubeletRestart, None) => Duration::ZERO,
            (fault, None) => {
                if fault.can_last() {
                    LASTS_DEFAULT
                } else {
                    Duration::ZERO
                }
            }
        };
        let to = now.saturating_add(lasts);
        if spec.fault.cuts_calls() {
            self.cuts.push(Span {
                node: spec.node.clone(),
                from: began,
                to: to.saturating_add(AFTERMATH),
                changing: false,
                excuses: true,
            });
        }
        if mutes_kubelets(spec.fault) {
            self.mute.push(Span { node: spec.node.clone(), from: began, to, changing: false, excuses: true });
        }
        if delays_flips(spec.fault) {
            // no Node object is written or read meanwhile
            let late = to.saturating_add(API_LAGS);
            for flip in self.flips.iter_mut().filter(|flip| flip.to >= now) {
                flip.to = flip.to.max(late.saturating_add(NODE_OBJECT_LAGS));
                // the taint comes late to the scheduler, or its binding to the plugin
                flip.excuses |= flip.changing || flip.from.saturating_add(TAINTED_WITHIN) >= began;
            }
            self.late_until = self.late_until.max(late);
        }
        if spec.fault == Fault::NodeRecreated {
            // its label is lost: that is a flip to the default
            self.flips.push(Span {
                node: spec.node.clone(),
                from: now,
                to: to.saturating_add(API_LAGS).saturating_add(NODE_OBJECT_LAGS),
                changing: false,
                excuses: true,
            });
        }
        if takes_devices(spec.fault) {
            // who is bound by the Node's older figures finds them unhealthy
            self.flips.push(Span {
                node: spec.node.clone(),
                from: began,
                to: to.max(self.late_until).saturating_add(AFTERMATH),
                changing: false,
                excuses: true,
            });
        }
        if matches!(spec.fault, Fault::GpuUnplugged { .. }) {
            let until = now.saturating_add(NODE_OBJECT_LAGS);
            self.unplugged.insert(spec.node.clone(), Unplugged { until, believed: true });
        }
        if matches!(spec.fault, Fault::PluginCrash | Fault::PluginOomKilled | Fault::NodeReboot) {
            self.killed.insert(spec.node.clone());
        }
        to
    }

    /// The configuration label of a node changes now. By itself that refuses no pod; while the plugin or the scheduler hears late
    /// of the Node, nobody can wait for what is not told.
    pub fn flip(&mut self, node: &str, now: Duration) {
        let is_late = self.late_until > now;
        let to = now.max(self.late_until).saturating_add(NODE_OBJECT_LAGS);
        self.flips.push(Span { node: node.to_owned(), from: now, to, changing: false, excuses: is_late });
    }

    /// The configuration of a node is edited now; its volume follows in its own time, and that is a flip.
    pub fn edit(&mut self, node: &str, now: Duration) {
        let to = now.max(self.late_until).saturating_add(VOLUME_LAGS).saturating_add(NODE_OBJECT_LAGS);
        self.flips.push(Span { node: node.to_owned(), from: now, to, changing: false, excuses: true });
    }

    /// As long as GPUs change their roles, devices are withdrawn that the scheduler still sees.
    pub fn look(&mut self, world: &World, now: Duration) {
        for (node, unplugged) in &mut self.unplugged {
            let believes = world.nodes.get(node).is_some_and(believes_in_gone_gpus);
            let mute = self.mute.iter().filter(|mute| mute.node == *node || mute.node == EVERY_NODE);
            if let Some(to) = mute.filter(|mute| mute.from <= unplugged.until).map(|mute| mute.to).max() {
                unplugged.until = unplugged.until.max(to.saturating_add(NODE_OBJECT_LAGS));
            }
            if std::mem::replace(&mut unplugged.believed, believes) || believes {
                unplugged.until = now.saturating_add(NODE_OBJECT_LAGS);
            }
        }
        for flip in &mut self.flips {
            let node = world.nodes.get(&flip.node);
            let changes = |gpu: &GpuView| matches!(gpu.state.as_deref(), Some("draining" | "converting"));
            let was_changing = flip.changing;
            let lasts = was_changing || flip.to >= now;
            flip.changing = lasts && node.is_some_and(|node| node.gpus.iter().any(changes));
            if was_changing || flip.changing {
                // an API server that is away may have made it last longer
                flip.to = flip.to.max(now.saturating_add(NODE_OBJECT_LAGS));
            }
        }
    }

    /// Whether a broken invariant is explained.
    pub fn covers(&mut self, sentence: &str, world: &World, now: Duration) -> bool {
        if let Some(rest) = sentence.strip_prefix(TOO_MANY) {
            let on = |node: &str| rest.contains(&format!("` on `{node}` "));
            let covered = self.unplugged.iter().any(|(node, unplugged)| now <= unplugged.until && on(node));
            if covered {
                self.used.insert("allocatableExists");
            }
            return covered;
        }
        let Some((pod, message)) = sentence.strip_prefix(REFUSAL).and_then(|rest| rest.split_once('`'))
        else {
            return false;
        };
        if self.excused.contains(pod) {
            return true;
        }
        let node = world.pods.get(pod).and_then(|pod| pod.node.as_deref());
        let around = |span: &Span| {
            span.excuses && Some(span.node.as_str()) == node && span.from <= now && now <= span.to
        };
        let withdrawn = WITHDRAWN.iter().any(|words| message.contains(words));
        let covered = self.cuts.iter().any(around) || withdrawn && self.flips.iter().any(around);
        if covered {
            self.excused.insert(pod.to_owned());
            self.used.insert("noRefusal");
        }
        covered
    }

    /// Whether something that was left behind is explained.
    pub fn covers_leak(&self, leak: &str) -> bool {
        leak.starts_with("socket ")
            && self.killed.iter().any(|node| leak.ends_with(&format!("of node `{node}`")))
    }
}

/// Whether a plugin does not know of a GPU's end yet: it looks now and then, and not at all while it does not run.
fn believes_in_gone_gpus(node: &NodeView) -> bool {
    let Some(gpus) = node.plugin.state["gpus"].as_array() else { return true };
    let is_here = |uuid: &str| {
        node.gpus.iter().any(|gpu| gpu.uuid == uuid || gpu.mig.iter().flatten().any(|mig| mig.uuid == uuid))
    };
    gpus.iter().filter_map(|gpu| gpu["uuid"].as_str()).any(|uuid| !is_here(uuid))
}

/// Whether a kubelet cannot write its Node meanwhile, or not what a plugin has to tell it.
fn mutes_kubelets(fault: Fault) -> bool {
    fault.is_of_cluster()
        || matches!(
            fault,
            Fault::KubeletHang
                | Fault::KubeletRestart
                | Fault::KubeletSocketRace
                | Fault::CheckpointLost
                | Fault::PluginDirectoryRecreated
        )
}

/// Whether devices turn unhealthy by it that no call is under way for.
fn takes_devices(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::NvmlError { .. }
            | Fault::Xid { .. }
            | Fault::EccError { .. }
            | Fault::MpsFault { .. }
            | Fault::MpsControlMissing
            | Fault::MpsControlHang
            | Fault::MpsControlGarbage
            | Fault::MpsControlFails
    )
}

/// Whether a plugin hears late of its Node's label, or the scheduler late of the node's devices.
fn delays_flips(fault: Fault) -> bool {
    fault.is_of_cluster() || fault == Fault::NodeRecreated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::PodView;

    const REFUSED: &str = "no pod fails because of the plugin: pod `p` failed with UnexpectedAdmissionError: Pod was \
                           rejected: Allocate failed due to no healthy devices present; which is unexpected";
    const BROKEN_CALL: &str = "no pod fails because of the plugin: pod `p` failed with UnexpectedAdmissionError: error reading from server";

    fn world() -> World {
        let pod = PodView { node: Some("n".to_owned()), ..PodView::default() };
        let mut world = World::default();
        world.pods.insert("p".to_owned(), pod);
        world
    }

    fn crash(node: &str) -> FaultSpec {
        FaultSpec { fault: Fault::PluginCrash, node: node.to_owned(), lasts: None }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_refusal_is_excused_on_the_node_of_the_fault_and_soon_after_it() {
        let world = world();
        let covered = |spec: &FaultSpec, at| {
            let mut excuses = Excuses::default();
            excuses.fault(spec, seconds(10), seconds(10));
            excuses.covers(BROKEN_CALL, &world, seconds(at))
        };
        assert!(covered(&crash("n"), 11));
        assert!(!covered(&crash("other"), 11));
        assert!(!covered(&crash("n"), 9) && !covered(&crash("n"), 200));
    }

    #[test]
    fn a_flip_by_itself_excuses_nothing() {
        let world = world();
        let mut excuses = Excuses::default();
        excuses.flip("n", seconds(10));
        assert!(!excuses.covers(BROKEN_CALL, &world, seconds(11)));
        assert!(!excuses.covers(REFUSED, &world, seconds(11)));
    }

    #[test]
    fn a_flip_while_the_api_server_is_away_excuses_withdrawn_devices_until_it_is_back_and_nothing_else() {
        let world = world();
        let mut excuses = Excuses::default();
        let away = FaultSpec { fault: Fault::ApiServerDown, node: "*".to_owned(), lasts: Some(seconds(27)) };
        excuses.fault(&away, seconds(9), seconds(9));
        excuses.flip("n", seconds(10));
        let changing = GpuView { state: Some("converting".to_owned()), ..GpuView::default() };
        let mut changes = world.clone();
        changes.nodes.insert("n".to_owned(), NodeView { gpus: vec![changing], ..NodeView::default() });
        excuses.look(&changes, seconds(12));
        excuses.look(&world, seconds(14));
        assert!(!excuses.covers("a device is handed out once: `GPU-a`", &world, seconds(38)));
        assert!(excuses.covers(REFUSED, &world, seconds(38)));
        // a failed pod stays failed
        assert!(excuses.covers(REFUSED, &world, seconds(500)));
        assert_eq!(excuses.used, ["noRefusal"].into());
    }

    #[test]
    fn an_api_server_that_goes_away_excuses_a_flip_only_while_the_taint_may_be_on_its_way() {
        let world = world();
        let covered = |away_at: u64| {
            let mut excuses = Excuses::default();
            excuses.flip("n", seconds(10));
            let away =
                FaultSpec { fault: Fault::ApiServerDown, node: "*".to_owned(), lasts: Some(seconds(27)) };
            excuses.fault(&away, seconds(away_at), seconds(away_at));
            excuses.covers(REFUSED, &world, seconds(away_at + 30))
        };
        assert!(covered(11));
        assert!(!covered(13));
    }

    #[test]
    fn a_gpu_that_drains_may_be_bound_by_what_a_slow_api_server_tells_late() {
        let world = world();
        let mut excuses = Excuses::default();
        excuses.flip("n", seconds(10));
        let draining = GpuView { state: Some("draining".to_owned()), ..GpuView::default() };
        let mut drains = world.clone();
        drains.nodes.insert("n".to_owned(), NodeView { gpus: vec![draining], ..NodeView::default() });
        excuses.look(&drains, seconds(11));
        let slow = Fault::ApiServerSlow { delay: seconds(9) };
        let slow = FaultSpec { fault: slow, node: "*".to_owned(), lasts: Some(seconds(12)) };
        assert!(!excuses.covers(REFUSED, &world, seconds(14)));
        excuses.fault(&slow, seconds(15), seconds(15));
        assert!(excuses.covers(REFUSED, &world, seconds(30)));
    }

    #[test]
    fn a_gpu_that_turns_ill_excuses_that_its_devices_are_withdrawn_and_nothing_else() {
        let world = world();
        let mut excuses = Excuses::default();
        let ill = Fault::NvmlError { gpu: Some(0), code: 15 };
        let ill = FaultSpec { fault: ill, node: "n".to_owned(), lasts: Some(seconds(5)) };
        excuses.fault(&ill, seconds(10), seconds(10));
        assert!(!excuses.covers(BROKEN_CALL, &world, seconds(20)));
        assert!(!excuses.covers(REFUSED, &world, seconds(9)));
        assert!(excuses.covers(REFUSED, &world, seconds(20)));
    }

    #[test]
    fn no_fault_excuses_a_shared_device() {
        let mut excuses = Excuses::default();
        excuses.fault(&crash("n"), seconds(10), seconds(10));
        let sentence = "a device is handed out once: `GPU-a` on `n` has a device held twice by p";
        assert!(!excuses.covers(sentence, &world(), seconds(11)));
        assert!(excuses.covers_leak("socket `s` of node `n`"));
        assert!(!excuses.covers_leak("MPS control daemon 7 of node `n` on `/p`"));
    }

    #[test]
    fn a_gpu_that_was_pulled_out_is_offered_until_its_plugin_has_looked() {
        let sentence = "allocatable never exceeds what exists: `nvidia.com/gpu` on `n` is 2, at most 1";
        let gone = FaultSpec { fault: Fault::GpuUnplugged { gpu: 1 }, node: "n".to_owned(), lasts: None };
        let mut world = world();
        let mut excuses = Excuses::default();
        assert!(!excuses.covers(sentence, &world, seconds(9)));
        excuses.fault(&gone, seconds(10), seconds(10));
        for (looks_at, believes) in [(20, true), (40, false), (80, false)] {
            let mut node = NodeView::default();
            let gpus = if believes { vec![serde_json::json!({"uuid": "GPU-a"})] } else { Vec::new() };
            node.plugin.state = serde_json::json!({"gpus": gpus});
            world.nodes.insert("n".to_owned(), node);
            excuses.look(&world, seconds(looks_at));
        }
        assert!(excuses.covers(sentence, &world, seconds(55)));
        assert!(!excuses.covers(sentence, &world, seconds(56)));
        assert!(!excuses.covers(&sentence.replace("`n`", "`other`"), &world, seconds(20)));
    }
}
