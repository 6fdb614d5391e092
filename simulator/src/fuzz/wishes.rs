//! What was asked of a node, and the divisions that its GPUs may therefore follow at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::label::{Devices, GroupName, Label, MigStrategy, Parts};
use super::story::{Cut, EDITED_FIRST, Machine};
use crate::world::{GpuView, NodeView, PodView, World};

/// The resource of whole GPUs.
pub(super) const GPU: &str = "nvidia.com/gpu";
/// The driver's own interval.
const DEFAULT_SLICE: &str = "default";

/// What was asked of one node so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How many GPUs the node has.
    pub gpus: u32,
    mig: Option<Cut>,
    newest: Label,
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

/// What the GPUs of a node are at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Groups, in the order in which counts take GPUs.
    pub groups: Vec<(Role, Devices)>,
    /// The role of all other GPUs.
    pub rest: Role,
}

/// How a GPU is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The extended resource.
    pub resource: String,
    /// Devices of each free GPU, or of each of its MIG devices.
    pub each: u64,
    /// The values of the labels that tell the strategy and the replicas, where the whole node plays one role.
    pub labels: Option<(&'static str, u64)>,
    /// Whether each GPU has an MPS control daemon.
    pub mps: bool,
    /// The interval of time-slicing that each GPU has.
    pub time_slice: &'static str,
    /// The GPU is handed out as its MIG devices.
    pub in_parts: bool,
}

impl Wishes {
    /// A node without the label.
    pub fn new(machine: &Machine) -> Wishes {
        Wishes {
            gpus: machine.gpus,
            mig: machine.mig,
            newest: Label::Absent,
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

    /// Whether a plugin may be without any configuration: it started while the label was wrong, and has no last good one.
    pub(super) fn may_have_none(&self, node: &NodeView) -> bool {
        let started_again = node.plugin.starts > 1;
        self.asked().is_none() && (started_again || self.wrong_from_start)
    }
}

/// Whether a configuration can hold on a node: no GPU in MIG mode takes MPS or an interval of time-slicing.
fn can_hold(label: &Label, mig: Option<Cut>) -> bool {
    let needs_whole = matches!(label, Label::Shared(sharing) if sharing.mps || sharing.interval().is_some());
    label.is_good() && !(needs_whole && mig.is_some())
}

impl Division {
    /// All GPUs play one role.
    fn of(rest: Role) -> Division {
        Division { groups: Vec::new(), rest }
    }

    /// Every role.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.groups.iter().map(|(role, _)| role).chain([&self.rest])
    }

    /// The roles that the GPU with this index may play.
    pub fn roles_of(&self, index: u32) -> Vec<&Role> {
        let listed = |devices: &Devices| matches!(devices, Devices::List(list) if list.contains(&index));
        if let Some((role, _)) = self.groups.iter().find(|(_, devices)| listed(devices)) {
            return vec![role];
        }
        let counted = self.groups.iter().filter(|(_, devices)| matches!(devices, Devices::Count(_)));
        counted.map(|(role, _)| role).chain([&self.rest]).collect()
    }

    /// How many of so many GPUs play the role of each group.
    pub fn takes(&self, gpus: u32) -> Vec<(&Role, u32)> {
        let listed = |devices: &Devices| match devices {
            Devices::List(list) => list.iter().filter(|index| **index < gpus).count() as u32,
            Devices::Count(_) => 0,
        };
        let mut left = gpus.saturating_sub(self.groups.iter().map(|(_, devices)| listed(devices)).sum());
        let takes = self.groups.iter().map(|(role, devices)| match devices {
            Devices::List(_) => (role, listed(devices)),
            Devices::Count(count) => {
                let count = left.min(*count);
                left -= count;
                (role, count)
            }
        });
        takes.collect()
    }
}

/// What a label asks of a node; one that names nothing good asks for the default.
pub(super) fn division(label: &Label, mig: Option<Cut>) -> Division {
    match label {
        Label::Shared(sharing) => Division::of(Role {
            resource: sharing.resource().to_owned(),
            each: u64::from(sharing.replicas),
            labels: Some((if sharing.mps { "mps" } else { "time-slicing" }, u64::from(sharing.replicas))),
            mps: sharing.mps,
            time_slice: sharing.interval().unwrap_or(DEFAULT_SLICE),
            in_parts: false,
        }),
        Label::Mixed(groups) => {
            let of_group = |name: GroupName| {
                let group = groups.iter().find(|group| group.name == name)?;
                let role = Role {
                    resource: name.resource().to_owned(),
                    each: u64::from(group.replicas),
                    labels: None,
                    mps: name.is_mps(),
                    time_slice: group.interval().unwrap_or(DEFAULT_SLICE),
                    in_parts: false,
                };
                Some((role, group.devices.clone()))
            };
            let groups = GroupName::ALL.into_iter().filter_map(of_group).collect();
            Division { groups, rest: Role { labels: None, ..Role::exclusive() } }
        }
        Label::Parts(parts) => Division::of(of_parts(*parts, mig)),
        Label::Absent | Label::Default | Label::Edited | Label::Broken | Label::Missing => {
            Division::of(Role::exclusive())
        }
    }
}

fn of_parts(parts: Parts, mig: Option<Cut>) -> Role {
    let Some(cut) = mig else { return Role::exclusive() };
    let in_parts = parts.strategy != MigStrategy::None;
    let resource = match parts.strategy {
        MigStrategy::None | MigStrategy::Single => GPU.to_owned(),
        MigStrategy::Mixed => format!("nvidia.com/mig-{}", cut.profile.name()),
    };
    let shared = if parts.replicas > 1 { ".shared" } else { "" };
    let (resource, each) = (resource + shared, u64::from(parts.replicas));
    Role { resource, each, labels: None, in_parts, ..Role::exclusive() }
}

impl Role {
    /// How many devices a GPU has in this role; one that was pulled out and put back has lost its MIG devices.
    pub(super) fn devices(&self, gpu: &GpuView) -> u64 {
        match self.in_parts {
            true => self.each * gpu.mig.iter().flatten().count() as u64,
            false => self.each,
        }
    }

    /// Whole GPUs.
    pub(super) fn exclusive() -> Role {
        Role {
            resource: GPU.to_owned(),
            each: 1,
            labels: Some(("none", 1)),
            mps: false,
            time_slice: DEFAULT_SLICE,
            in_parts: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::label::{Group, Sharing};
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
