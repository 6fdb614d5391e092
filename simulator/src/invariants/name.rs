//! The names of the invariants, because a scenario that excuses one must say which.

/// One thing that must hold; its name is what `excuses:` in a scenario says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A GPU held exclusively has one holder.
    OneExclusiveHolder,
    /// All holders of a GPU share one strategy.
    OneStrategy,
    /// A device is handed out once.
    HandedOutOnce,
    /// No more holders than replicas.
    WithinReplicas,
    /// Allocatable never exceeds what exists.
    AllocatableExists,
    /// A device in use never changes its meaning.
    MeaningStays,
    /// A pod's environment names exactly the GPUs of its ids.
    EnvironmentNamesGpus,
    /// A GPU keeps its compute mode while pods compute on it.
    ComputeModeStays,
    /// No pod fails because of the plugin.
    NoRefusal,
}

impl Invariant {
    /// Every invariant: its name in scenarios, and the words with which its sentences begin.
    pub const ALL: &'static [(Invariant, &'static str, &'static str)] = &[
        (Invariant::OneExclusiveHolder, "oneExclusiveHolder", "a GPU held exclusively has one holder"),
        (Invariant::OneStrategy, "oneStrategy", "all holders of a GPU share one strategy"),
        (Invariant::HandedOutOnce, "handedOutOnce", "a device is handed out once"),
        (Invariant::WithinReplicas, "withinReplicas", "no more holders than replicas"),
        (Invariant::AllocatableExists, "allocatableExists", "allocatable never exceeds what exists"),
        (Invariant::MeaningStays, "meaningStays", "a device in use never changes its meaning"),
        (
            Invariant::EnvironmentNamesGpus,
            "environmentNamesGpus",
            "`NVIDIA_VISIBLE_DEVICES` names exactly the GPUs",
        ),
        (
            Invariant::ComputeModeStays,
            "computeModeStays",
            "a GPU keeps its compute mode while pods compute on it",
        ),
        (Invariant::NoRefusal, "noRefusal", "no pod fails because of the plugin"),
    ];

    /// The invariant of that name.
    pub fn parse(name: &str) -> Option<Invariant> {
        let mut all = Self::ALL.iter();
        all.find(|(_, known, _)| *known == name).map(|(invariant, ..)| *invariant)
    }

    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(invariant, ..)| *invariant == self).map_or("", |(_, name, _)| name)
    }

    /// Whose sentence it is.
    pub(crate) fn of(sentence: &str) -> Option<Invariant> {
        let mut all = Self::ALL.iter();
        all.find(|(_, _, begins)| sentence.contains(begins)).map(|(invariant, ..)| *invariant)
    }
}
