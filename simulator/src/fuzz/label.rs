//! What a node's configuration label says in a made-up story, and the configuration behind each word, because a story is
//! about roles and the plugin reads YAML.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The name of a configuration that no config map holds.
const MISSING: &str = "no-such-config";
/// The name of the configuration that is wrong.
const BROKEN: &str = "broken";
/// The name of the configuration that nodes without the label get.
const DEFAULT: &str = "default";
/// The name of the configuration whose text steps change.
pub const EDITED: &str = "edited";

/// What the configuration label says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// It is removed.
    Absent,
    /// The default configuration, by name.
    Default,
    /// All GPUs are shared alike.
    Shared(Sharing),
    /// GPUs of one node play several roles; those that no group has are exclusive.
    Mixed(Vec<Group>),
    /// GPUs in MIG mode are served so.
    Parts(Parts),
    /// The configuration whose text steps change.
    Edited,
    /// A configuration that cannot be read.
    Broken,
    /// A configuration that does not exist.
    Missing,
}

/// How GPUs are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// By MPS; otherwise by time-slicing.
    pub mps: bool,
    /// Replicas of each GPU.
    pub replicas: u32,
    /// Whether the resource is called `nvidia.com/gpu.shared`.
    pub renamed: bool,
}

/// The GPUs of a node that play one role beside others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// What it is called.
    pub name: GroupName,
    /// Replicas of each GPU.
    pub replicas: u32,
    /// Which GPUs.
    pub devices: Devices,
}

/// Each group of a configuration has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupName {
    /// `nvidia.com/gpu.mps`.
    Mps,
    /// `nvidia.com/gpu.sliced`, by time-slicing.
    Sliced,
    /// `nvidia.com/gpu.fine`, by time-slicing as well.
    Fine,
}

/// Which GPUs a group has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Devices {
    /// So many of those that no list names.
    Count(u32),
    /// These indexes; a node may lack some.
    List(BTreeSet<u32>),
}

/// What MIG devices are served as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts {
    /// The MIG strategy.
    pub strategy: MigStrategy,
    /// Replicas of each MIG device, by time-slicing under another name; 1 shares nothing.
    pub replicas: u32,
}

/// NVIDIA's MIG strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MigStrategy {
    /// The whole GPU.
    None,
    /// A MIG device is a GPU.
    Single,
    /// A MIG device is called by its profile.
    Mixed,
}

impl Label {
    /// The value of the label; nothing when it is removed.
    pub fn value(&self) -> Option<String> {
        Some(match self {
            Label::Absent => return None,
            Label::Default => DEFAULT.to_owned(),
            Label::Shared(sharing) => sharing.name(),
            Label::Mixed(groups) => groups.iter().fold("mix".to_owned(), |name, group| name + &group.word()),
            Label::Parts(parts) => parts.name(),
            Label::Edited => EDITED.to_owned(),
            Label::Broken => BROKEN.to_owned(),
            Label::Missing => MISSING.to_owned(),
        })
    }

    /// Whether it names a configuration that can hold. Whether an edited one can depends on its text.
    pub fn is_good(&self) -> bool {
        match self {
            Label::Absent | Label::Default | Label::Shared(_) | Label::Mixed(_) | Label::Parts(_) => true,
            Label::Edited | Label::Broken | Label::Missing => false,
        }
    }

    /// In a word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Label::Absent | Label::Default => "exclusive",
            Label::Shared(Sharing { mps: true, .. }) => "MPS",
            Label::Shared(Sharing { mps: false, .. }) => "time-slicing",
            Label::Mixed(_) => "several roles",
            Label::Parts(_) => "MIG devices",
            Label::Edited => "an edited configuration",
            Label::Broken | Label::Missing => "a wrong label",
        }
    }

    /// The configuration's text and its name, when the config map holds it under a name of its own.
    pub(super) fn config(&self) -> Option<(String, String)> {
        Some((self.value()?, self.text(None)?))
    }

    /// The configuration's text; `profile` is what GPUs in MIG mode are cut into.
    pub(super) fn text(&self, profile: Option<&str>) -> Option<String> {
        Some(match self {
            Label::Absent | Label::Missing | Label::Edited => return None,
            Label::Default => "version: v1\nflags:\n  migStrategy: none".to_owned(),
            Label::Shared(sharing) => sharing.config(),
            Label::Mixed(groups) => mixed(groups),
            Label::Parts(parts) => parts.config(profile),
            Label::Broken => "version: v1\nsharing:\n  mps: 7".to_owned(),
        })
    }
}

impl Sharing {
    /// The configuration's name.
    fn name(&self) -> String {
        let strategy = if self.mps { "mps" } else { "sliced" };
        let name = if self.renamed { "" } else { "-same-name" };
        format!("{strategy}-{}{name}", self.replicas)
    }

    fn config(&self) -> String {
        let strategy = if self.mps { "mps" } else { "timeSlicing" };
        let (renamed, replicas) = (self.renamed, self.replicas);
        format!(
            "version: v1\nsharing:\n  {strategy}:\n    renameByDefault: {renamed}\n    resources:\n    - name: \
             nvidia.com/gpu\n      replicas: {replicas}{}",
            interval_line(self.interval())
        )
    }

    /// The interval of time-slicing that the configuration names.
    pub fn interval(&self) -> Option<&'static str> {
        if self.mps { None } else { interval_of(self.replicas) }
    }

    /// The extended resource.
    pub fn resource(&self) -> &'static str {
        if self.renamed { "nvidia.com/gpu.shared" } else { "nvidia.com/gpu" }
    }
}

/// Some numbers of replicas go with an interval, so that no draw is needed for it.
fn interval_of(replicas: u32) -> Option<&'static str> {
    match replicas % 4 {
        1 => Some("short"),
        3 => Some("long"),
        _ => None,
    }
}

fn interval_line(interval: Option<&str>) -> String {
    interval.map(|word| format!("\n      interval: {word}")).unwrap_or_default()
}

impl GroupName {
    /// All of them, in the order in which counts are served.
    pub const ALL: [GroupName; 3] = [GroupName::Mps, GroupName::Sliced, GroupName::Fine];

    /// Shared by MPS; otherwise by time-slicing.
    pub fn is_mps(self) -> bool {
        self == GroupName::Mps
    }

    /// The extended resource.
    pub fn resource(self) -> &'static str {
        match self {
            GroupName::Mps => "nvidia.com/gpu.mps",
            GroupName::Sliced => "nvidia.com/gpu.sliced",
            GroupName::Fine => "nvidia.com/gpu.fine",
        }
    }
}

impl Group {
    /// The interval of time-slicing that the configuration names.
    pub fn interval(&self) -> Option<&'static str> {
        if self.name.is_mps() { None } else { interval_of(self.replicas) }
    }

    fn word(&self) -> String {
        let name = match self.name {
            GroupName::Mps => "mps",
            GroupName::Sliced => "sliced",
            GroupName::Fine => "fine",
        };
        let devices = match &self.devices {
            Devices::Count(count) => format!("on{count}"),
            Devices::List(list) => format!("at{}", joined(list, ".")),
        };
        format!("-{name}{}{devices}", self.replicas)
    }
}

impl Parts {
    /// The configuration's name.
    fn name(&self) -> String {
        let strategy = self.strategy.text();
        match self.replicas {
            1 => format!("mig-{strategy}"),
            replicas => format!("mig-{strategy}-{replicas}"),
        }
    }

    fn config(&self, profile: Option<&str>) -> String {
        let mut text = format!("version: v1\nflags:\n  migStrategy: {}", self.strategy.text());
        if self.replicas > 1 {
            let resource = match (self.strategy, profile) {
                (MigStrategy::Mixed, Some(profile)) => format!("nvidia.com/mig-{profile}"),
                _ => "nvidia.com/gpu".to_owned(),
            };
            let _ = write!(
                text,
                "\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - name: {resource}\n      \
                 replicas: {}",
                self.replicas
            );
        }
        text
    }
}

impl MigStrategy {
    fn text(self) -> &'static str {
        match self {
            MigStrategy::None => "none",
            MigStrategy::Single => "single",
            MigStrategy::Mixed => "mixed",
        }
    }
}

fn mixed(groups: &[Group]) -> String {
    let mut text = "version: v1\nsharing:".to_owned();
    for (strategy, mps) in [("mps", true), ("timeSlicing", false)] {
        let mut of_strategy = groups.iter().filter(|group| group.name.is_mps() == mps).peekable();
        if of_strategy.peek().is_none() {
            continue;
        }
        let _ = write!(text, "\n  {strategy}:\n    resources:");
        for group in of_strategy {
            let devices = match &group.devices {
                Devices::Count(count) => count.to_string(),
                Devices::List(list) => format!("[{}]", joined(list, ", ")),
            };
            let (rename, replicas) = (group.name.resource(), group.replicas);
            let _ = write!(
                text,
                "\n    - name: nvidia.com/gpu\n      rename: {rename}\n      devices: {devices}\n      replicas: {replicas}{}",
                interval_line(group.interval())
            );
        }
    }
    text
}

fn joined(list: &BTreeSet<u32>, between: &str) -> String {
    list.iter().map(u32::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_a_configuration_that_the_plugin_reads() {
        let group = |name, devices| Group { name, replicas: 3, devices };
        let label = Label::Mixed(vec![
            group(GroupName::Mps, Devices::List([0, 2].into())),
            group(GroupName::Sliced, Devices::Count(2)),
        ]);
        let (name, text) = label.config().unwrap();
        assert_eq!(name, "mix-mps3at0.2-sliced3on2");
        let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let resources = |strategy: &str| config["sharing"][strategy]["resources"][0].clone();
        assert_eq!(resources("mps")["devices"], serde_json::json!([0, 2]));
        assert_eq!(resources("timeSlicing")["devices"], 2);
        assert_eq!(resources("timeSlicing")["rename"], "nvidia.com/gpu.sliced");
        assert_eq!(resources("timeSlicing")["interval"], "long");
    }

    #[test]
    fn shared_mig_devices_are_called_by_their_profile() {
        let parts = Parts { strategy: MigStrategy::Mixed, replicas: 2 };
        let text = Label::Parts(parts).text(Some("1g.5gb")).unwrap();
        assert!(
            text.contains("migStrategy: mixed") && text.contains("name: nvidia.com/mig-1g.5gb"),
            "{text}"
        );
        assert_eq!(Label::Parts(parts).value().unwrap(), "mig-mixed-2");
    }
}
