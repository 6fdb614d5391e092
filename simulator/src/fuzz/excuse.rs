//! Which pods may fail: a call that a fault cuts off is refused by Kubernetes itself, and no plugin can prevent that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::faults::{Fault, FaultSpec};
use crate::world::World;

/// How long after a fault pods may still fail of it: a boot, a start, the kubelet's ten seconds for a call, a full queue
/// of admissions.
const AFTERMATH: Duration = Duration::from_secs(90);
/// How the sentence of the invariant about refusals begins.
const REFUSAL: &str = "no pod fails because of the plugin: pod `";
/// How a boot without a set time takes at most.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// How long a fault lasts that needs a time and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);

/// The faults so far.
#[derive(Debug, Default)]
pub struct Excuses {
    cuts: Vec<Cut>,
    /// Pods that failed of a fault.
    excused: BTreeSet<String>,
}

/// From when to when calls between a kubelet and its plugins may be cut off.
#[derive(Debug)]
struct Cut {
    node: String,
    from: Duration,
    to: Duration,
}

impl Excuses {
    /// A fault begins now; the answer is when it is over.
    pub fn fault(&mut self, spec: &FaultSpec, now: Duration) -> Duration {
        let lasts = match (spec.fault, spec.lasts) {
            (Fault::NodeReboot, None) => BOOT_MAX,
            (Fault::KubeletHang | Fault::PodResourcesUnavailable | Fault::ApiServerDown, None) => LASTS_DEFAULT,
            (_, lasts) => lasts.unwrap_or_default(),
        };
        let end = now.saturating_add(lasts);
        if cuts_calls(spec.fault) {
            self.cuts.push(Cut {
                node: spec.node.clone(),
                from: now,
                to: end.saturating_add(AFTERMATH),
            });
        }
        end
    }

    /// Whether a broken invariant is a fault's doing.
    pub fn covers(&mut self, sentence: &str, world: &World, now: Duration) -> bool {
        let Some(pod) = sentence
            .strip_prefix(REFUSAL)
            .and_then(|rest| rest.split_once('`'))
            .map(|(name, _)| name)
        else {
            return false;
        };
        if self.excused.contains(pod) {
            return true;
        }
        let node = world.pods.get(pod).and_then(|pod| pod.node.as_deref());
        let cut = |cut: &&Cut| Some(cut.node.as_str()) == node && cut.from <= now && now <= cut.to;
        let covered = self.cuts.iter().any(|c| cut(&c));
        if covered {
            self.excused.insert(pod.to_owned());
        }
        covered
    }
}

/// Whether a kubelet and its plugin lose each other.
fn cuts_calls(fault: Fault) -> bool {
    match fault {
        Fault::PluginCrash
        | Fault::PluginRestart
        | Fault::KubeletRestart
        | Fault::KubeletHang
        | Fault::GpuLost { .. }
        | Fault::NodeReboot => true,
        Fault::SupervisorCrash
        | Fault::MpsDaemonCrash { .. }
        | Fault::PodResourcesUnavailable
        | Fault::ApiServerDown
        | Fault::WatchDrop
        | Fault::Xid { .. } => false,
    }
}
