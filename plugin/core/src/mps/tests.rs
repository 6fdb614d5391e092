//! The supervisor's machine, state by state, and its way through a whole life.

use std::time::Duration;

use super::{
    Actual, ClientLimits, DaemonGpu, DaemonStatus, Daemons, Desired, DesiredDaemon, OriginalModes,
    Supervisor, SupervisorAction as A, SupervisorEvent as E, clients_max,
};
use crate::config::ResourceName;
use crate::inventory::{ComputeMode, GpuUuid};
use crate::time::Time;

fn gpu() -> GpuUuid {
    GpuUuid::new("GPU-a")
}

fn daemon(replicas: u32) -> DesiredDaemon {
    DesiredDaemon {
        resource: ResourceName::gpu().shared(),
        replicas,
        active_thread_percentage: 100 / replicas,
        pinned_memory_limit_mib: Some(3840),
        client: ClientLimits::default(),
        gpus: Vec::new(),
    }
}

fn wish(generation: u64, replicas: Option<u32>) -> E {
    let daemons = replicas.map(|n| (gpu(), daemon(n))).into_iter().collect();
    E::DesiredRead { desired: Desired { generation, daemons } }
}

struct Bench {
    supervisor: Supervisor,
    now: Time,
}

impl Bench {
    fn new(originals: OriginalModes, change_modes: bool) -> Self {
        let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
        bench.tell(E::Started { originals, change_modes, daemons: Daemons::new(), alive: [].into() });
        bench
    }

    fn tell(&mut self, event: E) -> Vec<A> {
        self.supervisor.handle(self.now, event);
        std::iter::from_fn(|| self.supervisor.poll_action()).collect()
    }

    /// What it asks for, without its reports and what it writes down of daemons.
    fn asks(&mut self, event: E) -> Vec<A> {
        let is_file = |a: &A| matches!(a, A::WriteActual { .. } | A::PersistDaemons { .. });
        self.tell(event).into_iter().filter(|a| !is_file(a)).collect()
    }

    fn status(actions: &[A]) -> Option<DaemonStatus> {
        let mut reports = actions.iter().filter_map(|a| match a {
            A::WriteActual { actual } => Some(actual),
            _ => None,
        });
        reports.next_back().and_then(|actual| actual.daemons.get(&gpu()).cloned())
    }
}

#[test]
fn a_wish_claims_the_gpu_writes_its_mode_down_starts_the_daemon_and_gives_all_back() {
    let mut bench = Bench::new(OriginalModes::new(), true);
    assert_eq!(bench.asks(wish(1, Some(4))), [A::ReadMode { gpu: gpu() }]);
    let originals: OriginalModes = [(gpu(), ComputeMode::Default)].into();
    let mode = ComputeMode::ExclusiveProcess;
    assert_eq!(
        bench.asks(E::ModeRead { gpu: gpu(), mode: ComputeMode::Default }),
        [A::PersistOriginals { originals }, A::SetMode { gpu: gpu(), mode }],
        "written down before the first change"
    );
    assert_eq!(bench.asks(E::ModeSet { gpu: gpu() }), [A::StartDaemon { gpu: gpu(), daemon: daemon(4) }]);
    let ready = bench.tell(E::DaemonReady { gpu: gpu() });
    assert_eq!(Bench::status(&ready), Some(DaemonStatus::Ready));

    assert_eq!(bench.asks(wish(2, None)), [A::StopDaemon { gpu: gpu(), daemon: daemon(4) }]);
    let mode = ComputeMode::Default;
    assert_eq!(bench.asks(E::DaemonStopped { gpu: gpu() }), [A::SetMode { gpu: gpu(), mode }]);
    let end = bench.tell(E::ModeSet { gpu: gpu() });
    let actual = Actual { generation: 2, daemons: [].into() };
    assert_eq!(end, [A::PersistOriginals { originals: [].into() }, A::WriteActual { actual }]);
}

#[test]
fn a_dead_daemon_is_reported_and_started_again_after_a_pause() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    bench.tell(wish(1, Some(4)));
    bench.tell(E::DaemonReady { gpu: gpu() });
    let dead = bench.tell(E::DaemonExited { gpu: gpu() });
    assert!(matches!(Bench::status(&dead), Some(DaemonStatus::Failed { .. })), "{dead:?}");
    let retry_at = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(bench.asks(E::Timeout), []);
    bench.now = retry_at;
    assert_eq!(bench.asks(E::Timeout), [A::StartDaemon { gpu: gpu(), daemon: daemon(4) }]);
    let first_pause = retry_at - Time::START;
    let again = bench.tell(E::DaemonFailed { gpu: gpu(), why: "no".into() });
    assert_eq!(Bench::status(&again), Some(DaemonStatus::Failed { why: "no".into() }));
    assert!(bench.supervisor.poll_timeout().unwrap() - bench.now > first_pause, "pauses grow");
}

#[test]
fn other_limits_mean_a_new_daemon_because_limits_bind_only_new_servers() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    bench.tell(wish(1, Some(4)));
    bench.tell(E::DaemonReady { gpu: gpu() });
    assert_eq!(bench.asks(wish(2, Some(2))), [A::StopDaemon { gpu: gpu(), daemon: daemon(4) }]);
    let restarted = bench.asks(E::DaemonStopped { gpu: gpu() });
    assert_eq!(restarted, [A::StartDaemon { gpu: gpu(), daemon: daemon(2) }]);
}

#[test]
fn a_mode_that_an_earlier_run_changed_is_given_back_when_nobody_wants_the_gpu() {
    let originals: OriginalModes = [(gpu(), ComputeMode::Prohibited)].into();
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    bench.tell(E::Started { originals, change_modes: true, daemons: Daemons::new(), alive: [].into() });
    let mode = ComputeMode::Prohibited;
    assert_eq!(bench.asks(wish(1, None)), [A::SetMode { gpu: gpu(), mode }]);
    let refused = bench.tell(E::ModeFailed { gpu: gpu(), why: "busy".into() });
    assert_eq!(Bench::status(&refused), Some(DaemonStatus::Failed { why: "busy".into() }));
    assert_eq!(refused.len(), 1, "it waits: {refused:?}");
    bench.now = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(bench.asks(E::Timeout), [A::SetMode { gpu: gpu(), mode }]);
    assert_eq!(bench.asks(E::ModeSet { gpu: gpu() }), [A::PersistOriginals { originals: [].into() }]);
}

#[test]
fn an_earlier_runs_mode_is_not_taken_for_the_gpus_own() {
    let originals: OriginalModes = [(gpu(), ComputeMode::Default)].into();
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    bench.tell(E::Started { originals, change_modes: true, daemons: Daemons::new(), alive: [].into() });
    bench.tell(wish(1, Some(4)));
    let mode = ComputeMode::ExclusiveProcess;
    let asked = bench.asks(E::ModeRead { gpu: gpu(), mode });
    assert_eq!(asked, [A::SetMode { gpu: gpu(), mode }], "the written-down mode stays");
}

#[test]
fn a_stop_gives_every_gpu_back_before_the_process_ends() {
    let mut bench = Bench::new(OriginalModes::new(), true);
    bench.tell(wish(1, Some(4)));
    bench.tell(E::ModeRead { gpu: gpu(), mode: ComputeMode::Default });
    bench.tell(E::ModeSet { gpu: gpu() });
    bench.tell(E::DaemonReady { gpu: gpu() });
    assert_eq!(bench.asks(E::StopRequested), [A::StopDaemon { gpu: gpu(), daemon: daemon(4) }]);
    bench.tell(E::DaemonStopped { gpu: gpu() });
    let end = bench.tell(E::ModeSet { gpu: gpu() });
    assert!(matches!(end.last(), Some(A::Exit { .. })), "{end:?}");
    assert!(matches!(&end[end.len() - 2], A::WriteActual { actual } if actual.daemons.is_empty()), "{end:?}");
}

#[test]
fn an_idle_supervisor_stops_at_once() {
    let mut bench = Bench::new(OriginalModes::new(), true);
    let end = bench.tell(E::StopRequested);
    assert!(matches!(end.last(), Some(A::Exit { .. })), "{end:?}");
}

#[test]
fn pauses_end_at_half_a_minute() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    bench.tell(wish(1, Some(4)));
    for _ in 0..20 {
        bench.tell(E::DaemonFailed { gpu: gpu(), why: "no".into() });
        let at = bench.supervisor.poll_timeout().unwrap();
        assert!(at - bench.now <= Duration::from_secs(30));
        bench.now = at;
        bench.tell(E::Timeout);
    }
}

#[test]
fn volta_and_later_serve_48_clients_or_60_since_cuda_13_1_and_earlier_gpus_16() {
    let counts = |cuda| [(6, 1), (7, 0), (7, 5), (9, 0)].map(|capability| clients_max(capability, cuda));
    assert_eq!(counts((12, 8)), [16, 48, 48, 48]);
    assert_eq!(counts((13, 0)), [16, 48, 48, 48]);
    assert_eq!(counts((13, 1)), [16, 60, 60, 60]);
    assert_eq!(counts((14, 0)), [16, 60, 60, 60]);
}

#[test]
fn a_driver_that_does_not_answer_is_tried_again_and_does_not_hold_up_the_end() {
    let stuck = || E::ModeStuck { gpu: gpu(), why: "no answer within 5s".into() };
    let mut bench = Bench::new(OriginalModes::new(), true);
    bench.tell(wish(1, Some(4)));
    let told = bench.tell(stuck());
    assert_eq!(Bench::status(&told), Some(DaemonStatus::Failed { why: "no answer within 5s".into() }));
    bench.now = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(bench.asks(E::Timeout), [A::ReadMode { gpu: gpu() }]);
    bench.tell(E::ModeRead { gpu: gpu(), mode: ComputeMode::Default });
    bench.tell(E::ModeSet { gpu: gpu() });
    bench.tell(E::DaemonReady { gpu: gpu() });

    bench.tell(E::StopRequested);
    let mode = ComputeMode::Default;
    assert_eq!(bench.asks(E::DaemonStopped { gpu: gpu() }), [A::SetMode { gpu: gpu(), mode }]);
    let end = bench.asks(stuck());
    let [A::Exit { why }] = end.as_slice() else { panic!("{end:?}") };
    assert!(why.contains("`GPU-a`"), "{why}");

    // the next start knows the mode, and gives it back
    let mut next = Bench::new([(gpu(), mode)].into(), true);
    assert_eq!(next.asks(wish(2, None)), [A::SetMode { gpu: gpu(), mode }]);
}

#[test]
fn a_mode_that_cannot_be_given_back_says_why() {
    let mut bench = Bench::new([(gpu(), ComputeMode::Default)].into(), true);
    bench.tell(wish(1, None));
    let told = bench.tell(E::ModeStuck { gpu: gpu(), why: "no answer within 5s".into() });
    assert_eq!(Bench::status(&told), Some(DaemonStatus::Failed { why: "no answer within 5s".into() }));
}

#[test]
fn a_daemon_is_written_down_before_it_starts_and_struck_out_when_it_is_gone() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    let daemons: Daemons = [(gpu(), daemon(4))].into();
    let begun = bench.tell(wish(1, Some(4)));
    let start = A::StartDaemon { gpu: gpu(), daemon: daemon(4) };
    assert_eq!(begun[..2], [A::PersistDaemons { daemons }, start]);
    bench.tell(E::DaemonReady { gpu: gpu() });
    bench.tell(E::DaemonExited { gpu: gpu() });
    bench.now = bench.supervisor.poll_timeout().unwrap();
    let again = bench.tell(E::Timeout);
    assert!(!again.iter().any(|a| matches!(a, A::PersistDaemons { .. })), "it is known: {again:?}");
    bench.tell(E::DaemonReady { gpu: gpu() });
    bench.tell(wish(2, None));
    let end = bench.tell(E::DaemonStopped { gpu: gpu() });
    assert_eq!(end[0], A::PersistDaemons { daemons: Daemons::new() });
}

#[test]
fn a_daemon_that_an_earlier_run_left_is_stopped_when_nobody_wants_it_and_adopted_otherwise() {
    let mode = ComputeMode::Default;
    let started = || E::Started {
        originals: [(gpu(), mode)].into(),
        change_modes: true,
        daemons: [(gpu(), daemon(4))].into(),
        alive: [].into(),
    };
    let stop = A::StopDaemon { gpu: gpu(), daemon: daemon(4) };
    for wished in [None, Some(2)] {
        let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
        assert_eq!(bench.asks(started()), [], "the wish is not known yet");
        assert_eq!(bench.asks(wish(1, wished)).as_slice(), std::slice::from_ref(&stop), "as it was started");
        assert_eq!(bench.asks(E::DaemonStopped { gpu: gpu() }), [A::SetMode { gpu: gpu(), mode }]);
        let next = bench.asks(E::ModeSet { gpu: gpu() });
        let restarts = next.contains(&A::ReadMode { gpu: gpu() });
        assert_eq!(restarts, wished.is_some(), "{next:?}");
    }
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    bench.tell(started());
    assert_eq!(bench.asks(wish(1, Some(4))), [A::ReadMode { gpu: gpu() }]);
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    bench.tell(started());
    assert_eq!(bench.asks(E::StopRequested), [stop], "an end that comes before the first wish");
}

#[test]
fn the_answer_to_a_change_that_is_not_wanted_any_more_is_not_taken_for_that_of_its_return() {
    let mut bench = Bench::new(OriginalModes::new(), true);
    bench.tell(wish(1, Some(4)));
    let mode = ComputeMode::Default;
    bench.tell(E::ModeRead { gpu: gpu(), mode });
    assert_eq!(bench.asks(wish(2, None)), [], "EXCLUSIVE_PROCESS is under way");
    assert_eq!(bench.asks(E::ModeSet { gpu: gpu() }), [A::SetMode { gpu: gpu(), mode }]);
    let failed = bench.tell(E::ModeFailed { gpu: gpu(), why: "busy".into() });
    assert_eq!(Bench::status(&failed), Some(DaemonStatus::Failed { why: "busy".into() }));
    bench.now = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(bench.asks(E::Timeout), [A::SetMode { gpu: gpu(), mode }]);
}

#[test]
fn a_daemon_that_takes_no_clients_is_told_and_healthy_again_when_it_does() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    bench.tell(wish(1, Some(4)));
    bench.tell(E::DaemonReady { gpu: gpu() });
    let why = "MPS server 7 is in FAULT".to_owned();
    let ill = bench.tell(E::DaemonLooked { gpu: gpu(), ill: Some(why.clone()) });
    assert_eq!(Bench::status(&ill), Some(DaemonStatus::Ill { why }));
    assert_eq!(ill.len(), 1, "it is left alone: {ill:?}");
    let well = bench.tell(E::DaemonLooked { gpu: gpu(), ill: None });
    assert_eq!(Bench::status(&well), Some(DaemonStatus::Ready));
}

#[test]
fn a_daemon_that_does_not_go_is_stopped_again_later() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    bench.tell(wish(1, Some(4)));
    bench.tell(E::DaemonReady { gpu: gpu() });
    bench.tell(wish(2, None));
    let stayed = bench.tell(E::DaemonStayed { gpu: gpu(), why: "it lives".into() });
    assert_eq!(Bench::status(&stayed), Some(DaemonStatus::Failed { why: "it lives".into() }));
    bench.now = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(bench.asks(E::Timeout), [A::StopDaemon { gpu: gpu(), daemon: daemon(4) }]);
    let end = bench.tell(E::DaemonStopped { gpu: gpu() });
    assert!(matches!(end.last(), Some(A::WriteActual { actual }) if actual.daemons.is_empty()), "{end:?}");
}

#[test]
fn one_daemon_claims_all_gpus_of_its_resource_one_after_the_other() {
    let second = GpuUuid::new("GPU-b");
    let of = |uuid: &GpuUuid| DaemonGpu { uuid: uuid.clone(), memory_mib: Some(3840) };
    let both = DesiredDaemon { gpus: vec![of(&gpu()), of(&second)], ..daemon(4) };
    let daemons = [(gpu(), both.clone()), (second.clone(), both.clone())].into();
    let mut bench = Bench::new(OriginalModes::new(), true);
    let desired = Desired { generation: 1, daemons };
    assert_eq!(bench.asks(E::DesiredRead { desired }), [A::ReadMode { gpu: gpu() }]);
    let (mode, changed) = (ComputeMode::Default, ComputeMode::ExclusiveProcess);
    bench.tell(E::ModeRead { gpu: gpu(), mode });
    assert_eq!(bench.asks(E::ModeSet { gpu: gpu() }), [A::ReadMode { gpu: second.clone() }]);
    let asked = bench.asks(E::ModeRead { gpu: second.clone(), mode });
    assert_eq!(asked[1], A::SetMode { gpu: second.clone(), mode: changed });
    let started = bench.asks(E::ModeSet { gpu: second.clone() });
    assert_eq!(started, [A::StartDaemon { gpu: gpu(), daemon: both.clone() }]);
    let ready = bench.tell(E::DaemonReady { gpu: gpu() });
    let [A::WriteActual { actual }] = ready.as_slice() else { panic!("{ready:?}") };
    assert!(actual.is_ready(&gpu()) && actual.is_ready(&second));

    // one GPU alone wants another daemon: the old one goes first, on both
    let alone = Desired { generation: 2, daemons: [(second.clone(), daemon(2))].into() };
    assert_eq!(bench.asks(E::DesiredRead { desired: alone }), [A::StopDaemon { gpu: gpu(), daemon: both }]);
    assert_eq!(bench.asks(E::DaemonStopped { gpu: gpu() }), [A::SetMode { gpu: gpu(), mode }]);
    let back = bench.asks(E::ModeSet { gpu: gpu() });
    assert_eq!(back.last(), Some(&A::SetMode { gpu: second.clone(), mode }));
    let next = bench.asks(E::ModeSet { gpu: second.clone() });
    assert_eq!(next.last(), Some(&A::ReadMode { gpu: second }));
}

#[test]
fn a_file_of_its_own_counts_until_the_plugin_says_what_it_wants() {
    let mut bench = Bench::new(OriginalModes::new(), false);
    let alone = || E::AloneRead { desired: Desired { generation: 0, daemons: [(gpu(), daemon(4))].into() } };
    assert_eq!(bench.asks(alone()), [A::StartDaemon { gpu: gpu(), daemon: daemon(4) }]);
    bench.tell(E::DaemonReady { gpu: gpu() });
    assert_eq!(bench.asks(wish(1, Some(2))), [A::StopDaemon { gpu: gpu(), daemon: daemon(4) }]);
    bench.tell(E::DaemonStopped { gpu: gpu() });
    bench.tell(E::DaemonReady { gpu: gpu() });
    assert_eq!(bench.asks(alone()), [], "the plugin decides");
}

#[test]
fn a_living_daemon_is_told_as_ready_while_it_is_adopted() {
    let mode = ComputeMode::ExclusiveProcess;
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    let started = bench.tell(E::Started {
        originals: [(gpu(), ComputeMode::Default)].into(),
        change_modes: true,
        daemons: [(gpu(), daemon(4))].into(),
        alive: [gpu()].into(),
    });
    assert_eq!(started, [], "the report of the earlier run stands");
    let adopting = bench.tell(wish(3, Some(4)));
    assert_eq!(Bench::status(&adopting), Some(DaemonStatus::Ready));
    bench.tell(E::ModeRead { gpu: gpu(), mode });
    bench.tell(E::ModeSet { gpu: gpu() });
    assert_eq!(bench.tell(E::DaemonReady { gpu: gpu() }), [], "nothing has changed for the plugin");
    let dead = bench.tell(E::DaemonExited { gpu: gpu() });
    assert!(matches!(Bench::status(&dead), Some(DaemonStatus::Failed { .. })));
    bench.now = bench.supervisor.poll_timeout().unwrap();
    assert_eq!(Bench::status(&bench.tell(E::Timeout)), Some(DaemonStatus::Starting));
}

#[test]
fn the_report_of_an_earlier_run_does_not_stand_for_good() {
    let mut bench = Bench { supervisor: Supervisor::new(), now: Time::START };
    let daemons: Daemons = [(gpu(), daemon(4))].into();
    let originals = OriginalModes::new();
    bench.tell(E::Started { originals, change_modes: true, daemons, alive: [gpu()].into() });
    bench.now = bench.supervisor.poll_timeout().unwrap();
    let told = bench.tell(E::Timeout);
    assert!(matches!(told.as_slice(), [A::WriteActual { .. }]), "{told:?}");
    assert_eq!(bench.supervisor.poll_timeout(), None);
}
