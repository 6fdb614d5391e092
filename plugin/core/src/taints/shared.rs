//! When a node that shares its GPUs is tainted, and how long shared devices wait for that.
//!
//! The taint is wanted as soon as every GPU should be shared. It is there before the first shared device can be handed out,
//! and stays until the last one that nobody holds has left, or, on a node that goes on sharing some, until a whole GPU is
//! served.

use crate::action::Severity;
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::taints::Taint;
use crate::time::Time;
use crate::view::{Strategy, View};

/// What the keys of taints begin with that no configuration names.
const OWN_PREFIX: &str = "tandem.dev/";

/// The taint of nodes that share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedTaint {
    /// Wanted on the Node.
    wanted: Option<Taint>,
    /// Since when shared devices wait for it.
    waits_since: Option<Time>,
}

impl SharedTaint {
    pub(crate) fn wanted(&self) -> Option<&Taint> {
        self.wanted.as_ref()
    }

    /// Whether shared devices that nobody holds are absent for now.
    pub(crate) fn withholds(&self) -> bool {
        self.waits_since.is_some()
    }
}

impl Plugin {
    /// Decides whether the taint is wanted, and whether shared devices still wait for it.
    pub(crate) fn want_shared_taint(&mut self, all_changed: bool) {
        let due = self.taint_deadline().is_some_and(|at| at <= self.now);
        if !(all_changed || due) {
            return;
        }
        let wanted = self.shared_taint();
        let waits = match &wanted {
            Some(taint) => self.waits_for(taint),
            None => None,
        };
        let shared = &mut self.taint_patch.shared;
        self.change.all |= waits.is_some() != shared.waits_since.is_some();
        shared.wanted = wanted;
        shared.waits_since = waits;
    }

    /// When shared devices stop to wait for the taint.
    pub(crate) fn taint_deadline(&self) -> Option<Time> {
        self.taint_patch.shared.waits_since.map(|since| since + self.settings.timing.taint_wait)
    }

    fn shared_taint(&self) -> Option<Taint> {
        let applied = self.applied.as_ref()?;
        let shares = |strategy| strategy != Strategy::Exclusive;
        let (shared, whole): (Vec<_>, Vec<_>) =
            applied.roles.values().partition(|role| shares(role.strategy));
        let configured = applied.taint.clone();
        if whole.is_empty() && !shared.is_empty() {
            return configured;
        }
        // it is on its way out: that of the configuration before, or of a process before
        let before = self.taint_patch.shared.wanted.clone();
        let noted = || {
            self.taint_patch
                .on_node
                .as_ref()
                .and_then(|on_node| on_node.ours().find(|taint| !taint.key.starts_with(OWN_PREFIX)).cloned())
        };
        let leaving = before.or_else(noted)?;
        let serves_whole = self
            .gpus
            .values()
            .any(|state| matches!(state, GpuState::Settled { role } if role.strategy == Strategy::Exclusive));
        let stays = if shared.is_empty() { self.lists_shared(!serves_whole) } else { !serves_whole };
        stays.then_some(leaving)
    }

    /// Whether a shared device is listed that nobody holds; or that somebody holds, if those count.
    fn lists_shared(&self, held_ones: bool) -> bool {
        shared_devices(&self.view)
            .any(|(resource, id, gpu)| held_ones || !self.ownership.held_ids(gpu, resource).contains(id))
    }

    /// Since when shared devices wait for the taint; `None` when they do not.
    fn waits_for(&mut self, taint: &Taint) -> Option<Time> {
        let before = self.taint_patch.shared.waits_since;
        // who gives out shared devices already does not take them back
        let serves = before.is_none() && shared_devices(&self.view).next().is_some();
        // what stands in was in force before, when its taint was put on the Node
        if self.is_tainted(taint) || serves || self.last_goods.stands_in {
            return None;
        }
        if self.settings.node_name.is_none() {
            let message = format!(
                "without a node name the taint `{taint}` cannot be set (hint: set --node-name or NODE_NAME)"
            );
            self.say_once("taints", Severity::Warning, "TaintsNotWritten", message);
            return None;
        }
        let since = before.unwrap_or(self.now);
        let wait = self.settings.timing.taint_wait;
        if since + wait <= self.now {
            let message = format!(
                "shared devices are offered without the taint `{taint}`: it could not be set within {wait:?}"
            );
            self.say_once("untainted", Severity::Warning, "SharedUntainted", message);
            return None;
        }
        Some(since)
    }
}

/// Resource, id and GPU of every shared device that is listed.
fn shared_devices(view: &View) -> impl Iterator<Item = (&str, &str, &crate::inventory::GpuUuid)> {
    view.resources.iter().flat_map(|(name, resource)| {
        let shared = resource.devices.values().filter(|device| device.strategy != Strategy::Exclusive);
        shared.map(move |device| (name.as_str(), device.id.as_str(), &device.gpu))
    })
}
