//! How one GPU changes its role without changing under anybody: the machine that every label flip runs through, once per GPU.
//!
//! ```text
//!              another role is wanted            nobody holds it, and that was read after its
//!                                                old ids were withdrawn; and then no process
//!                                                computes on it, and that was read as well
//!   Settled ───────────────────────► Draining ─────────────────────────────► Converting
//!     ▲  ▲      the old role again      │ (no MPS on either side: at once)      │ MPS daemon ready,
//!     │  └──────────────────────────────┘                                       │ or gone and the
//!     └─────────────────────────────────────────────────────────────────────────┘ compute mode restored
//! ```
//!
//! *Draining*: held ids stay registered and healthy, unheld ones are withdrawn as soon as nobody can be bound to them any more
//! ([`crate::bind_stop`]), and until then it does not convert; ids of the new role are absent. A late
//! Allocate of an old id is still granted and makes a holder. *Converting*: nothing is handed out under either role; only
//! here may MPS daemons and compute modes change. An Allocate that was granted just before the GPU left its old role is told
//! of afterwards: from wherever the GPU is by then it goes back to draining the role that its holder knows.
//!
//! A GPU that is *Found* without a holder converts at once; only for an MPS role that it does not have yet no process may be on
//! it either ([`crate::ownership::processes`]): its compute mode changes.
//!
//! GPUs of one MPS control daemon walk together: none leaves *Draining* before all of them are free, and their daemon is wished
//! for when all of them are *Converting*.
//! A daemon that has been ill for too long is renewed on the same walk, out of the role and back (`renew`).
//! Another number of time-sliced replicas is no other role: the GPU stays settled, held ids stay, others come and go.
//!
//! A MIG device walks as a GPU does. What the configuration has no role for — a GPU that is served as its MIG devices, MIG
//! devices of a GPU that is served as a whole — ends as *Unused*, and only then do its parts or its whole settle.

use crate::resources::Role;
use crate::time::Time;
use crate::view::Strategy;

/// Where one GPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuState {
    /// Just found: whether somebody holds it is not known yet. Left with the first read of PodResources, and towards an MPS
    /// role when no process is on it.
    Found,
    /// It plays this role.
    Settled {
        /// The role.
        role: Role,
    },
    /// It should play another role, and somebody may hold it.
    Draining {
        /// The role that its holders know.
        from: Role,
        /// Since when its unheld ids are withdrawn.
        since: Time,
    },
    /// Nobody holds it; MPS and compute mode are on their way to the wanted role.
    Converting,
    /// Nobody holds it, and the configuration has no role for it.
    Unused,
}

/// What a GPU's MPS control daemon is doing, as the supervisor reports it for the newest wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MpsCondition {
    /// No daemon, and the compute mode is the GPU's own.
    Absent,
    /// Starting, stopping, failed, or the supervisor has not answered the newest wish.
    Busy,
    /// It serves, with its limits.
    Ready,
}

/// Everything that the machine looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The present time.
    pub now: Time,
    /// The wanted role; `None` while no configuration is in force.
    pub target: Option<Role>,
    /// A configuration is in force and has no role for it.
    pub unwanted: bool,
    /// What it is a part of, or a part of it, may still be held or offered: it does not settle.
    pub blocked: bool,
    /// The role that the present holders know, when anybody holds it.
    pub held_as: Option<Role>,
    /// A holder knows it under a name that the wanted role does not have.
    pub stranger: bool,
    /// When the newest answered PodResources read was asked for.
    pub evidence: Option<Time>,
    /// Ids of the role that it leaves are healthy although nobody holds it.
    pub lingers: bool,
    /// PodResources cannot be read, and could not for so long that it never will.
    pub unreadable: bool,
    /// Another GPU of the MPS control daemon that serves it may still be held.
    pub mates_held: bool,
    /// Compute processes are on it whose end matters, or NVML has not told since it was free. See [`crate::ownership::processes`].
    pub occupied: bool,
    /// Its control daemon.
    pub mps: MpsCondition,
    /// That daemon has been ill for too long: it must be gone before the GPU settles again.
    pub renew: bool,
}

impl GpuState {
    /// The state after looking at the situation once; the caller repeats until it stays.
    #[must_use]
    pub fn next(self, s: &Situation) -> GpuState {
        let Some(target) = s.target.clone() else {
            return if s.unwanted { self.leave(s) } else { self };
        };
        if let (GpuState::Converting | GpuState::Settled { .. }, Some(held_as)) = (&self, &s.held_as)
            && self.role().is_none_or(|role| *role == target)
            && s.stranger
        {
            return GpuState::Draining { from: held_as.clone(), since: s.now };
        }
        match self {
            GpuState::Found => found(s, target),
            GpuState::Settled { role } | GpuState::Draining { from: role, .. }
                if (role == target || role.is_resize_of(&target)) && !s.blocked && !s.renew =>
            {
                GpuState::Settled { role: target }
            }
            GpuState::Settled { role } => GpuState::Draining { from: role, since: s.now },
            GpuState::Draining { from, since } => {
                let proven = s.evidence.is_some_and(|e| e >= since) && !s.lingers;
                match (s.held_as.is_some(), proven) {
                    (true, _) | (false, false) => GpuState::Draining { from, since },
                    (false, true) if s.mates_held || s.occupied => GpuState::Draining { from, since },
                    (false, true) => GpuState::Converting,
                }
            }
            GpuState::Converting => match (target.strategy, s.mps) {
                (Strategy::Mps, MpsCondition::Ready)
                | (Strategy::Exclusive | Strategy::TimeSlicing, MpsCondition::Absent)
                    if !s.blocked && !s.renew =>
                {
                    GpuState::Settled { role: target }
                }
                (
                    Strategy::Mps | Strategy::Exclusive | Strategy::TimeSlicing,
                    MpsCondition::Absent | MpsCondition::Busy | MpsCondition::Ready,
                ) => GpuState::Converting,
            },
            GpuState::Unused => match &s.held_as {
                Some(role) => GpuState::Draining { from: role.clone(), since: s.now },
                None if s.occupied => GpuState::Unused,
                None => GpuState::Converting,
            },
        }
    }

    /// The way out of every role.
    fn leave(self, s: &Situation) -> GpuState {
        match (self, &s.held_as) {
            (GpuState::Settled { role }, _) => GpuState::Draining { from: role, since: s.now },
            (GpuState::Draining { from, since }, held_as) => {
                let proven = s.evidence.is_some_and(|e| e >= since) && !s.lingers;
                if held_as.is_none() && proven && !s.mates_held && !s.occupied {
                    GpuState::Converting
                } else {
                    GpuState::Draining { from, since }
                }
            }
            (GpuState::Found | GpuState::Converting | GpuState::Unused, Some(role)) => {
                GpuState::Draining { from: role.clone(), since: s.now }
            }
            (GpuState::Found, None) if s.evidence.is_none() && !s.unreadable => GpuState::Found,
            (GpuState::Converting, None) if s.mps != MpsCondition::Absent => GpuState::Converting,
            (GpuState::Found | GpuState::Converting | GpuState::Unused, None) => GpuState::Unused,
        }
    }

    /// The role under which the GPU is known to the kubelet now.
    pub fn role(&self) -> Option<&Role> {
        match self {
            GpuState::Settled { role } | GpuState::Draining { from: role, .. } => Some(role),
            GpuState::Found | GpuState::Converting | GpuState::Unused => None,
        }
    }

    /// `found`, `settled`, `draining`, `converting` or `unused`.
    pub fn tag(&self) -> &'static str {
        match self {
            GpuState::Found => "found",
            GpuState::Settled { .. } => "settled",
            GpuState::Draining { .. } => "draining",
            GpuState::Converting => "converting",
            GpuState::Unused => "unused",
        }
    }
}

/// At the plugin's start pods may hold the GPU already, under the same role or another one.
fn found(s: &Situation, target: Role) -> GpuState {
    match (&s.held_as, s.evidence) {
        (Some(role), _) if *role == target && !s.blocked => GpuState::Settled { role: target },
        (Some(role), _) => GpuState::Draining { from: role.clone(), since: s.now },
        (None, Some(_)) if s.occupied => GpuState::Found,
        (None, Some(_)) => GpuState::Converting,
        // a node whose kubelet never tells (no podresources socket mounted) serves as it would without this ledger, except
        // that MPS daemons and compute modes are only touched where somebody vouches that the GPU is free
        (None, None) if s.unreadable && !s.blocked && target.strategy != Strategy::Mps => {
            GpuState::Settled { role: target }
        }
        (None, None) => GpuState::Found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ResourceName;

    fn shared(strategy: Strategy) -> Role {
        Role { strategy, ..Role::time_sliced(ResourceName::gpu().shared(), 4) }
    }

    fn situation(target: Role) -> Situation {
        Situation {
            now: Time::from_millis(100),
            target: Some(target),
            unwanted: false,
            blocked: false,
            held_as: None,
            stranger: false,
            evidence: None,
            lingers: false,
            unreadable: false,
            mates_held: false,
            occupied: false,
            mps: MpsCondition::Absent,
            renew: false,
        }
    }

    /// What an MPS control daemon does, with and without processes whose end matters.
    fn conditions() -> impl Iterator<Item = (MpsCondition, bool)> {
        let all = [MpsCondition::Absent, MpsCondition::Busy, MpsCondition::Ready];
        all.into_iter().flat_map(|mps| [(mps, false), (mps, true)])
    }

    /// Every state under every combination of what the machine looks at.
    #[test]
    fn the_diagram_is_the_table() {
        let exclusive = Role::exclusive();
        let draining = GpuState::Draining { from: exclusive.clone(), since: Time::from_millis(50) };
        let settled = GpuState::Settled { role: exclusive.clone() };
        let (early, late) = (Some(Time::from_millis(49)), Some(Time::from_millis(50)));
        for target in [exclusive.clone(), shared(Strategy::TimeSlicing), shared(Strategy::Mps)] {
            for held_as in [None, Some(exclusive.clone())] {
                for evidence in [None, early, late] {
                    for (mps, occupied) in conditions() {
                        let s = Situation {
                            held_as: held_as.clone(),
                            stranger: held_as.is_some() && target != exclusive,
                            evidence,
                            mps,
                            occupied,
                            ..situation(target.clone())
                        };
                        let same = target == exclusive;
                        let other = s.stranger;
                        let after_settled = settled.clone().next(&s);
                        assert_eq!(after_settled == settled, same, "settled {s:?}");
                        if !same {
                            assert_eq!(after_settled.tag(), "draining", "settled {s:?}");
                        }
                        let leaves = held_as.is_none() && evidence == late && !occupied;
                        let expected = match (same, leaves) {
                            (true, _) => settled.clone(),
                            (false, true) => GpuState::Converting,
                            (false, false) => draining.clone(),
                        };
                        assert_eq!(draining.clone().next(&s), expected, "draining {s:?}");
                        let wanted = if target.strategy == Strategy::Mps {
                            MpsCondition::Ready
                        } else {
                            MpsCondition::Absent
                        };
                        let late = GpuState::Draining { from: exclusive.clone(), since: s.now };
                        let there = GpuState::Settled { role: target.clone() };
                        let expected = match (other, mps == wanted) {
                            (true, _) => late.clone(),
                            (false, true) => there.clone(),
                            (false, false) => GpuState::Converting,
                        };
                        assert_eq!(GpuState::Converting.next(&s), expected, "converting {s:?}");
                        let expected = if other { late } else { there.clone() };
                        assert_eq!(there.next(&s), expected, "settled in the wanted role {s:?}");
                        let expected = match (&held_as, evidence) {
                            (Some(role), _) if *role == target => GpuState::Settled { role: role.clone() },
                            (Some(role), _) => GpuState::Draining { from: role.clone(), since: s.now },
                            (None, Some(_)) if !occupied => GpuState::Converting,
                            (None, _) => GpuState::Found,
                        };
                        assert_eq!(GpuState::Found.next(&s), expected, "found {s:?}");
                        let expected = match (&held_as, occupied) {
                            (Some(role), _) => GpuState::Draining { from: role.clone(), since: s.now },
                            (None, true) => GpuState::Unused,
                            (None, false) => GpuState::Converting,
                        };
                        assert_eq!(GpuState::Unused.next(&s), expected, "unused {s:?}");
                    }
                }
            }
        }
    }

    /// Every state in a role that differs from the wanted one in its number of replicas alone.
    #[test]
    fn another_number_of_time_sliced_replicas_is_no_other_role() {
        let now = Role { replicas: 2, ..shared(Strategy::TimeSlicing) };
        let target = shared(Strategy::TimeSlicing);
        let since = Time::from_millis(50);
        let there = GpuState::Settled { role: target.clone() };
        for held_as in [None, Some(now.clone()), Some(target.clone())] {
            let s = Situation { held_as, ..situation(target.clone()) };
            assert_eq!(GpuState::Settled { role: now.clone() }.next(&s), there);
            assert_eq!(GpuState::Draining { from: now.clone(), since }.next(&s), there);
            let blocked = Situation { blocked: true, ..s.clone() };
            assert_eq!(GpuState::Settled { role: now.clone() }.next(&blocked).tag(), "draining");
        }
        let mps = Role { replicas: 2, ..shared(Strategy::Mps) };
        let renamed = Role { resource: ResourceName::gpu(), ..now.clone() };
        for (role, target) in [(mps, shared(Strategy::Mps)), (renamed, target)] {
            let s = situation(target);
            assert_eq!(GpuState::Settled { role }.next(&s).tag(), "draining", "MPS, and another name, drain");
        }
    }

    #[test]
    fn a_gpu_whose_old_ids_are_still_offered_does_not_leave_its_role() {
        let role = Role::exclusive();
        let draining = GpuState::Draining { from: role.clone(), since: Time::from_millis(50) };
        let unwanted = Situation { target: None, unwanted: true, ..situation(role.clone()) };
        for s in [situation(shared(Strategy::TimeSlicing)), unwanted] {
            let s = Situation { evidence: Some(Time::from_millis(60)), ..s };
            assert_eq!(draining.clone().next(&s), GpuState::Converting);
            assert_eq!(draining.clone().next(&Situation { occupied: true, ..s.clone() }), draining);
            assert_eq!(draining.clone().next(&Situation { lingers: true, ..s }), draining);
        }
    }

    #[test]
    fn without_a_configuration_nothing_moves() {
        let s = Situation { target: None, ..situation(Role::exclusive()) };
        for state in [GpuState::Found, GpuState::Settled { role: Role::exclusive() }, GpuState::Converting] {
            assert_eq!(state.clone().next(&s), state);
        }
    }

    #[test]
    fn where_the_kubelet_never_tells_exclusive_gpus_are_served_and_mps_waits() {
        let mut s = Situation { unreadable: true, ..situation(Role::exclusive()) };
        assert_eq!(GpuState::Found.next(&s).tag(), "settled");
        s.target = Some(shared(Strategy::Mps));
        assert_eq!(GpuState::Found.next(&s), GpuState::Found);
    }

    #[test]
    fn what_has_no_role_ends_unused_once_it_is_known_to_be_free() {
        let role = Role::exclusive();
        let free = Situation { target: None, unwanted: true, ..situation(role.clone()) };
        let since = Time::from_millis(50);
        let draining = GpuState::Draining { from: role.clone(), since };
        let known = Situation { evidence: Some(since), ..free.clone() };
        assert_eq!(GpuState::Found.next(&free), GpuState::Found, "nobody has vouched for it");
        assert_eq!(GpuState::Found.next(&known), GpuState::Unused);
        assert_eq!(GpuState::Settled { role: role.clone() }.next(&known).tag(), "draining");
        assert_eq!(draining.clone().next(&free), draining);
        assert_eq!(draining.clone().next(&known), GpuState::Converting);
        assert_eq!(GpuState::Converting.next(&known), GpuState::Unused);
        let serves = Situation { mps: MpsCondition::Ready, ..known.clone() };
        assert_eq!(GpuState::Converting.next(&serves), GpuState::Converting, "its daemon still runs");
        let held = Situation { held_as: Some(role.clone()), ..known };
        for state in [GpuState::Found, GpuState::Converting, GpuState::Unused, draining] {
            assert_eq!(state.clone().next(&held).role(), Some(&role), "{state:?}");
        }
    }

    #[test]
    fn nothing_settles_beside_its_own_part_or_whole() {
        let role = Role::exclusive();
        let since = Time::from_millis(50);
        let states = [
            GpuState::Found,
            GpuState::Settled { role: role.clone() },
            GpuState::Draining { from: role.clone(), since },
            GpuState::Converting,
            GpuState::Unused,
        ];
        for held_as in [None, Some(role.clone())] {
            for evidence in [None, Some(since)] {
                let mut s = Situation { held_as: held_as.clone(), evidence, ..situation(role.clone()) };
                s.blocked = true;
                for state in &states {
                    assert_ne!(state.clone().next(&s).tag(), "settled", "{state:?} {s:?}");
                }
            }
        }
    }

    #[test]
    fn another_count_of_time_sliced_replicas_needs_no_free_gpu() {
        let sliced = |replicas| Role::time_sliced(ResourceName::gpu().shared(), replicas);
        let (four, eight) = (sliced(4), sliced(8));
        let held = |target: &Role, held_as: &Role| Situation {
            held_as: Some(held_as.clone()),
            evidence: Some(Time::from_millis(100)),
            ..situation(target.clone())
        };
        let settled = |role: &Role| GpuState::Settled { role: role.clone() };
        assert_eq!(settled(&four).next(&held(&eight, &eight)), settled(&eight), "more");
        // a dropped id that is held stays listed beside the new ones
        assert_eq!(settled(&eight).next(&held(&four, &eight)), settled(&four), "fewer");
        let mps = |replicas| Role { strategy: Strategy::Mps, ..sliced(replicas) };
        let drains = settled(&mps(4)).next(&held(&mps(8), &mps(4)));
        assert_eq!(drains.tag(), "draining", "limits bind only new servers");
        assert_eq!(drains.clone().next(&held(&mps(8), &mps(4))), drains);
    }

    #[test]
    fn a_gpu_whose_daemon_is_renewed_leaves_its_role_and_comes_back_once_the_daemon_is_gone() {
        let role = shared(Strategy::Mps);
        let settled = GpuState::Settled { role: role.clone() };
        let s = Situation {
            renew: true,
            mps: MpsCondition::Busy,
            evidence: Some(Time::from_millis(100)),
            ..situation(role.clone())
        };
        let draining = settled.clone().next(&s);
        assert_eq!(draining.tag(), "draining");
        let held = Situation { held_as: Some(role.clone()), ..s.clone() };
        assert_eq!(draining.clone().next(&held), draining, "a late Allocate makes a holder");
        assert_eq!(draining.clone().next(&Situation { renew: false, ..held }), settled, "it recovered");
        assert_eq!(draining.next(&s), GpuState::Converting);
        for mps in [MpsCondition::Absent, MpsCondition::Busy, MpsCondition::Ready] {
            assert_eq!(GpuState::Converting.next(&Situation { mps, ..s.clone() }), GpuState::Converting);
        }
        let anew = Situation { renew: false, mps: MpsCondition::Ready, ..s };
        assert_eq!(GpuState::Converting.next(&anew), settled);
    }

    #[test]
    fn a_gpu_waits_for_those_that_share_its_daemon() {
        let role = shared(Strategy::Mps);
        let draining = GpuState::Draining { from: role, since: Time::from_millis(50) };
        let free = Situation { evidence: Some(Time::from_millis(60)), ..situation(Role::exclusive()) };
        let waits = Situation { mates_held: true, ..free.clone() };
        assert_eq!(draining.clone().next(&waits), draining);
        assert_eq!(draining.clone().next(&free), GpuState::Converting);
        let unwanted = Situation { target: None, unwanted: true, ..waits };
        assert_eq!(draining.clone().next(&unwanted), draining);
    }
}
