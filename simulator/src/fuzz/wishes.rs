//! What was asked of a node, and the divisions that its GPUs may therefore follow at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::division::{Division, division};
use super::label::Label;
use super::story::{Cut, EDITED_FIRST, Machine};
use crate::world::{NodeView, PodView, World};

/// What was asked of one node so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How many GPUs the node has.
    pub gpus: u32,
    mig: Option<Cut>,
    newest: Label,
    /// The label led to the edited configuration once.
    was_edited: bool,
    /// Every text of the edited configuration so far.
    texts: Vec<Label>,
    /// Everything so far that the label led to and that can hold; an edited configuration by its texts.
    good: Vec<Label>,
    /// The label was wrong before the plugin had any configuration.
    wrong_from_start: bool,
    /// The kubelet's checkpoint was lost.
    forgotten: bool,
    /// The disk was full once.
    unnoted: bool,
    /// Pods that such a kubelet admitted without knowing what they ask for.
    unchecked: BTreeSet<String>,
    /// MIG device → its GPU, of all that the node ever had.
    parents: BTreeMap<String, String>,
}

impl Wishes {
    /// A node without the label.
    pub fn new(machine: &Machine) -> Wishes {
        Wishes {
            gpus: machine.gpus,
            mig: machine.mig,
            newest: Label::Absent,
            was_edited: false,
            texts: vec![EDITED_FIRST],
            good: vec![Label::Absent],
            wrong_from_start: false,
            forgotten: false,
            unnoted: false,
            unchecked: BTreeSet::new(),
            parents: BTreeMap::new(),
        }
    }

    /// The label changes; `early` while the plugin has no configuration yet.
    pub fn flip(&mut self, label: &Label, early: bool) {
        self.newest = label.clone();
        if *label == Label::Edited {
            self.was_edited = true;
            // the config volume may still show any earlier text
            self.good.extend(self.texts.iter().filter(|text| can_hold(text, self.mig)).cloned());
        }
        self.judge(early);
    }

    /// The text of the edited configuration changes.
    pub fn edit(&mut self, text: &Label, early: bool) {
        self.texts.push(text.clone());
        if self.newest == Label::Edited {
            self.judge(early);
        } else if self.was_edited && can_hold(text, self.mig) {
            // of a label that has changed since the plugin may hear after the text
            self.good.push(text.clone());
        }
    }

    /// The kubelet's checkpoint is lost.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    /// The disk was full: a plugin that is killed then cannot have noted which intervals it has set.
    pub fn disk_filled(&mut self) {
        self.unnoted = true;
    }

    /// Whether an interval of time-slicing may be left that nobody remembers.
    pub(super) fn may_leave_interval(&self, node: &NodeView) -> bool {
        self.unnoted && node.plugin.starts > 1
    }

    /// Whether the Node's figure for a resource may be one of long ago: a kubelet without checkpoint knows only what has
    /// registered since, and leaves every other figure as it is (kubernetes 64632). No plugin can prevent that.
    pub(super) fn may_be_stale(&self, node: &NodeView, resource: &str) -> bool {
        self.forgotten && !node.lists.contains_key(resource) && !node.plugin.registered.contains_key(resource)
    }

    /// Remembers which GPU a MIG device is a part of, because one that vanishes under its holder still is. And notes who is bound to the node while its kubelet does not know what they ask for: it admits them without a look, and
    /// they wait until their containers find devices (kubernetes 112936).
    pub fn look(&mut self, world: &World, name: &str) {
        let Some(node) = world.nodes.get(name) else { return };
        for gpu in &node.gpus {
            for mig in gpu.mig.iter().flatten() {
                if !self.parents.contains_key(&mig.uuid) {
                    self.parents.insert(mig.uuid.clone(), gpu.uuid.clone());
                }
            }
        }
        if !self.forgotten {
            return;
        }
        let unknown = |pod: &PodView| pod.resources.keys().any(|of| !node.plugin.registered.contains_key(of));
        let bound = world.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(name));
        let waiting = bound.filter(|(_, pod)| pod.phase == "Pending" && unknown(pod));
        self.unchecked.extend(waiting.map(|(pod, _)| pod.clone()));
    }

    /// The GPU that a MIG device was or is a part of.
    pub(super) fn parent(&self, mig: &str) -> Option<&str> {
        self.parents.get(mig).map(String::as_str)
    }

    /// Whether a pod may wait for devices although it was admitted.
    pub(super) fn may_wait(&self, pod: &str) -> bool {
        self.unchecked.contains(pod)
    }

    /// Whether a broken invariant is about a pod whose containers such a kubelet started without devices: it gives the pod some
    /// later, when it knows the resource and looks at its pods anew.
    pub fn covers(&self, sentence: &str) -> bool {
        let is_about = |pod: &String| sentence.contains(&format!(": pod `{pod}` has {{}} by no way, "));
        self.unchecked.iter().any(is_about)
    }

    /// What the label says now.
    pub fn newest(&self) -> &Label {
        &self.newest
    }

    /// Whether an edited text is what the node's label leads to now.
    pub fn follows_edits(&self) -> bool {
        self.newest == Label::Edited
    }

    fn judge(&mut self, early: bool) {
        match self.asked() {
            Some(asked) => {
                self.good.push(asked.clone());
                self.wrong_from_start = false;
            }
            None => self.wrong_from_start |= early,
        }
    }

    /// What the label leads to, if it can hold.
    fn asked(&self) -> Option<&Label> {
        let asked = if self.newest == Label::Edited { self.texts.last()? } else { &self.newest };
        can_hold(asked, self.mig).then_some(asked)
    }

    /// The divisions that the node's GPUs may follow at rest: what is asked for; after a wrong label any that was good once,
    /// the newest first, because only the plugin knows which one it read last.
    pub fn divisions(&self) -> Vec<Division> {
        let labels = match self.asked() {
            Some(asked) => std::slice::from_ref(asked),
            None => &self.good,
        };
        let mut divisions: Vec<Division> = Vec::new();
        for division in labels.iter().rev().map(|label| division(label, self.mig)) {
            if !divisions.contains(&division) {
                divisions.push(division);
            }
        }
        divisions
    }

    /// Whether a plugin may be without any configuration that holds: it started while the label was wrong, and has no last good
    /// one.
    pub(super) fn may_have_none(&self, node: &NodeView) -> bool {
        let has_lost_it = self.unnoted && node.plugin.starts > 1;
        self.asked().is_none() && (has_lost_it || self.wrong_from_start)
    }
}

/// Whether a configuration can hold on a node: no GPU in MIG mode takes MPS or an interval of time-slicing.
fn can_hold(label: &Label, mig: Option<Cut>) -> bool {
    let needs_whole = matches!(label, Label::Shared(sharing) if sharing.mps || sharing.interval().is_some());
    label.is_good() && !(needs_whole && mig.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::division::GPU;
    use super::super::label::{Devices, Group, GroupName, MigStrategy, Parts, Sharing};
    use super::super::story::Profile;
    use super::*;

    fn mix(devices: [(GroupName, Devices); 2]) -> Division {
        let groups = devices.map(|(name, devices)| Group { name, replicas: 2, devices });
        division(&Label::Mixed(groups.into()), None)
    }

    #[test]
    fn lists_come_before_counts_and_mps_before_time_slicing() {
        let division =
            mix([(GroupName::Sliced, Devices::Count(2)), (GroupName::Mps, Devices::List([1, 5].into()))]);
        let takes =
            |gpus| division.takes(gpus).iter().map(|(role, count)| (role.mps, *count)).collect::<Vec<_>>();
        assert_eq!(takes(4), [(true, 1), (false, 2)]);
        assert_eq!(takes(2), [(true, 1), (false, 1)]);
        assert_eq!(takes(1), [(true, 0), (false, 1)]);
        assert_eq!(division.roles_of(1).len(), 1);
        assert_eq!(
            division.roles_of(0).iter().map(|role| role.resource.as_str()).collect::<Vec<_>>(),
            ["nvidia.com/gpu.sliced", GPU]
        );
    }

    #[test]
    fn an_edited_configuration_is_what_its_newest_text_says() {
        let machine = Machine { name: "n".to_owned(), gpus: 1, mig: None };
        let mut wishes = Wishes::new(&machine);
        let mps = Label::Shared(Sharing { mps: true, replicas: 3, renamed: true });
        wishes.edit(&mps, false);
        assert_eq!(wishes.divisions(), [division(&Label::Absent, None)], "nobody follows it");
        wishes.flip(&Label::Edited, false);
        assert_eq!(wishes.divisions(), [division(&mps, None)]);
        wishes.edit(&Label::Broken, false);
        assert_eq!(
            wishes.divisions(),
            [&mps, &EDITED_FIRST, &Label::Absent].map(|label| division(label, None))
        );
    }

    #[test]
    fn a_gpu_in_mig_mode_is_its_parts_and_takes_no_mps() {
        let cut = Cut { profile: Profile::Large, count: 2 };
        let machine = Machine { name: "n".to_owned(), gpus: 1, mig: Some(cut) };
        let mut wishes = Wishes::new(&machine);
        wishes.flip(&Label::Parts(Parts { strategy: MigStrategy::Mixed, replicas: 2 }), false);
        let [division] = &wishes.divisions()[..] else { panic!("{wishes:?}") };
        assert_eq!(
            (division.rest.resource.as_str(), division.rest.each),
            ("nvidia.com/mig-3g.20gb.shared", 2)
        );
        wishes.flip(&Label::Shared(Sharing { mps: true, replicas: 3, renamed: true }), false);
        assert_eq!(wishes.divisions().len(), 2, "any earlier one");
    }
}
