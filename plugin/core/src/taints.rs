//! Which taints the plugin puts on its Node and takes away again, without ever touching one of somebody else.
//!
//! The API server replaces the list of taints as a whole, so a change is "these, if those are there now". What the plugin has
//! added is noted on the Node itself ([`NOTE`]), in the same write: so the next process knows it too. A taint of the same
//! key and effect that is not noted is somebody else's, is left alone, and serves as well.

mod shared;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::config;
use crate::plugin::Plugin;
use crate::time::Time;

pub(crate) use shared::SharedTaint;

/// The annotation that lists the taints that the plugin has added, separated by commas.
pub const NOTE: &str = "tandem.dev/taints";

/// Most taints that a note is read for.
const NOTED_MAX: usize = 16;

/// A taint of a Node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// A qualified name.
    pub key: String,
    /// May be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Taint {
    /// A Node has one taint at most for a key and an effect.
    pub fn replaces(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }

    /// As a configuration asks for it.
    pub(crate) fn of(asked: &config::Taint) -> Self {
        let effect = asked.effect.as_str().to_owned();
        Taint { key: asked.key.clone(), value: asked.value.clone(), effect }
    }

    /// Reads what [`fmt::Display`] writes.
    fn read(text: &str) -> Option<Taint> {
        let (rest, effect) = text.rsplit_once(':')?;
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        (!key.is_empty()).then(|| Taint { key: key.into(), value: value.into(), effect: effect.into() })
    }
}

impl fmt::Display for Taint {
    /// As `kubectl` writes it: `key=value:effect`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect),
            value => write!(f, "{}={value}:{}", self.key, self.effect),
        }
    }
}

/// The taints of the Node, and which of them the plugin has noted as its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnNode {
    taints: Vec<Taint>,
    ours: Vec<Taint>,
}

impl OnNode {
    /// As the Node tells.
    pub(crate) fn new(taints: Vec<Taint>, note: Option<&str>) -> Self {
        let noted = note.unwrap_or_default().split(',').take(NOTED_MAX);
        OnNode { taints, ours: noted.filter_map(Taint::read).collect() }
    }

    /// Whether the Node has it, or one of somebody else in its place.
    pub(crate) fn serves(&self, wanted: &Taint) -> bool {
        self.taints.iter().any(|taint| taint.replaces(wanted))
    }

    /// What the plugin has added and is still there.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Taint> {
        self.ours.iter().filter(|taint| self.taints.contains(taint))
    }

    /// Somebody else's taint in the place of a wanted one, with another value.
    fn rival(&self, wanted: &Taint) -> Option<&Taint> {
        let is_rival = |taint: &&Taint| taint.replaces(wanted) && *taint != wanted;
        self.taints.iter().find(is_rival).filter(|taint| !self.ours.contains(taint))
    }

    /// The Node as it should be; the same when nothing is to be done.
    fn with(&self, wanted: &[Taint]) -> OnNode {
        let stays = |taint: &&Taint| !self.ours.contains(taint) || wanted.contains(taint);
        let mut taints: Vec<Taint> = self.taints.iter().filter(stays).cloned().collect();
        let mut ours = Vec::new();
        for taint in wanted {
            let is_new = !taints.iter().any(|other| other.replaces(taint));
            if is_new {
                taints.push(taint.clone());
            }
            if is_new || (self.ours.contains(taint) && taints.contains(taint)) {
                ours.push(taint.clone());
            }
        }
        OnNode { taints, ours }
    }

    fn note(&self) -> Option<String> {
        let ours: Vec<String> = self.ours.iter().map(ToString::to_string).collect();
        (!ours.is_empty()).then(|| ours.join(","))
    }
}

/// One change at a time, tried again with growing pauses.
#[derive(Clone, Debug)]
pub(crate) struct TaintPatch {
    /// What the Node has as far as is known; `None` until it was read.
    pub(crate) on_node: Option<OnNode>,
    /// A change was sent and is not answered yet.
    under_way: bool,
    /// What the Node has when it is done, unless the Node tells something else meanwhile, which is newer.
    expected: Option<OnNode>,
    pub(crate) retry_at: Option<Time>,
    backoff: Backoff,
    /// The taint of nodes that share.
    pub(crate) shared: SharedTaint,
}

impl Default for TaintPatch {
    fn default() -> Self {
        let backoff = Backoff::for_api_server();
        TaintPatch {
            on_node: None,
            under_way: false,
            expected: None,
            retry_at: None,
            backoff,
            shared: SharedTaint::default(),
        }
    }
}

impl Plugin {
    /// Every taint that the Node should have of ours.
    fn wanted_taints(&self) -> Vec<Taint> {
        self.taint_patch.shared.wanted().cloned().into_iter().collect()
    }

    /// Whether the Node is known to have a taint.
    pub(crate) fn is_tainted(&self, taint: &Taint) -> bool {
        self.taint_patch.on_node.as_ref().is_some_and(|on_node| on_node.serves(taint))
    }

    /// Changes the Node's taints when they are not as they should be. Until a configuration is in force nothing is known
    /// about what the node serves, and they stay as an earlier process left them.
    pub(crate) fn patch_taints(&mut self, all_changed: bool) {
        let due = self.taint_patch.retry_at.is_some_and(|at| at <= self.now);
        if !(all_changed || due) || self.settings.node_name.is_none() || self.applied.is_none() {
            return;
        }
        let wanted = self.wanted_taints();
        let Some(on_node) = &self.taint_patch.on_node else {
            return;
        };
        let rival = wanted.iter().find_map(|taint| Some((taint, on_node.rival(taint)?)));
        let rival = rival.map(|(wanted, there)| {
            format!("the Node has the taint `{there}` of somebody else in the place of `{wanted}`: it is left as it is")
        });
        let next = on_node.with(&wanted);
        let same = next == *on_node;
        let waits = self.taint_patch.retry_at.is_some_and(|at| at > self.now);
        if same {
            self.taint_patch.retry_at = None;
        } else if !self.taint_patch.under_way && !waits {
            let (before, after) = (on_node.taints.clone(), next.taints.clone());
            let note = next.note();
            self.taint_patch.retry_at = None;
            self.taint_patch.under_way = true;
            self.taint_patch.expected = Some(next);
            self.act(Action::PatchTaints { before, after, note });
        }
        if let Some(message) = rival {
            self.say_once("rival taint", Severity::Warning, "TaintNotOurs", message);
        }
    }

    pub(crate) fn taints_read(&mut self, taints: Vec<Taint>, note: Option<&str>) {
        self.taint_patch.on_node = Some(OnNode::new(taints, note));
        self.taint_patch.expected = None;
    }

    /// The watch will tell the same in a moment; until then the patch is taken as seen, so that it is not sent twice.
    pub(crate) fn taints_patched(&mut self) {
        self.said.remove("taints");
        self.taint_patch.backoff.reset();
        self.taint_patch.under_way = false;
        if let Some(expected) = self.taint_patch.expected.take() {
            self.taint_patch.on_node = Some(expected);
        }
    }

    pub(crate) fn taints_failed(&mut self, why: &str) {
        self.taint_patch.under_way = false;
        self.taint_patch.expected = None;
        self.taint_patch.retry_at = Some(self.now + self.taint_patch.backoff.next_delay());
        let message = format!("the Node's taints could not be written: {why}; trying again");
        self.say_once("taints", Severity::Warning, "TaintsNotWritten", message);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taint(text: &str) -> Taint {
        Taint::read(text).unwrap()
    }

    fn taints(text: &str) -> Vec<Taint> {
        text.split(' ').filter(|text| !text.is_empty()).map(taint).collect()
    }

    /// Taints of the Node, the note, what is wanted → taints and note afterwards.
    #[test]
    fn ours_come_and_go_and_others_stay() {
        let rows = [
            ("", "", "a=1:NoSchedule", "a=1:NoSchedule", "a=1:NoSchedule"),
            ("b:NoExecute", "", "a=1:NoSchedule", "b:NoExecute a=1:NoSchedule", "a=1:NoSchedule"),
            ("a=1:NoSchedule b:NoExecute", "a=1:NoSchedule", "", "b:NoExecute", ""),
            // somebody else's is not taken away, nor noted as ours, nor given another value
            ("a=1:NoSchedule", "", "", "a=1:NoSchedule", ""),
            ("a=1:NoSchedule", "", "a=1:NoSchedule", "a=1:NoSchedule", ""),
            ("a=2:NoSchedule", "", "a=1:NoSchedule", "a=2:NoSchedule", ""),
            ("a=2:NoSchedule", "a=1:NoSchedule", "", "a=2:NoSchedule", ""),
            // the same key with another effect is another taint
            ("a=1:NoExecute", "", "a=1:NoSchedule", "a=1:NoExecute a=1:NoSchedule", "a=1:NoSchedule"),
            // ours was taken away by hand
            ("", "a=1:NoSchedule", "a=1:NoSchedule", "a=1:NoSchedule", "a=1:NoSchedule"),
            ("", "a=1:NoSchedule", "", "", ""),
            // another value is wanted
            ("a=1:NoSchedule", "a=1:NoSchedule", "a=2:NoSchedule", "a=2:NoSchedule", "a=2:NoSchedule"),
            ("c:NoSchedule", "garbage,:,c", "", "c:NoSchedule", ""),
        ];
        for (there, note, wanted, after, noted) in rows {
            let before = OnNode::new(taints(there), Some(note));
            let next = before.with(&taints(wanted));
            assert_eq!(next.taints, taints(after), "{there} / {note} / {wanted}");
            assert_eq!(next.note().unwrap_or_default(), noted, "{there} / {note} / {wanted}");
            assert_eq!(next.with(&taints(wanted)), next, "it comes to rest");
        }
    }

    fn any_taints() -> impl Strategy<Value = Vec<Taint>> {
        let one = ("[ab]", "[12]?", prop_oneof![Just("NoSchedule"), Just("NoExecute")]);
        proptest::collection::vec(one, 0..4).prop_map(|all| {
            let mut out: Vec<Taint> = Vec::new();
            for (key, value, effect) in all {
                let taint = Taint { key, value, effect: effect.to_owned() };
                if !out.iter().any(|other| other.replaces(&taint)) {
                    out.push(taint);
                }
            }
            out
        })
    }

    proptest! {
        #[test]
        fn taints_of_others_are_never_touched(there in any_taints(), ours in any_taints(), wanted in any_taints()) {
            let before = OnNode { taints: there.clone(), ours };
            let after = before.with(&wanted);
            for taint in there.iter().filter(|taint| !before.ours.contains(taint)) {
                prop_assert!(after.taints.contains(taint) && !after.ours.contains(taint));
            }
            for taint in &wanted {
                prop_assert!(after.serves(taint));
            }
            let read = OnNode::new(after.taints.clone(), after.note().as_deref());
            prop_assert_eq!(read, after, "the note reads back");
        }
    }
}
