//! The supervisor's machine, state by state, and its way through a whole life.

use std::time::Duration;

use super::{
    Actual, DaemonStatus, Desired, DesiredDaemon, OriginalModes, Supervisor, SupervisorAction as A,
    SupervisorEvent as E, clients_max,
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
        bench.tell(E::Started { originals, change_modes });
        bench
    }

    fn tell(&mut self, event: E) -> Vec<A> {
        self.supervisor.handle(self.now, event);
        std::iter::from_fn(|| self.supervisor.poll_action()).collect()
    }

    /// What it asks for, without its reports.
    fn asks(&mut self, event: E) -> Vec<A> {
        self.tell(event).into_iter().filter(|a| !matches!(a, A::WriteActual { .. })).collect()
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
    bench.tell(E::Started { originals, change_modes: true });
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
    bench.tell(E::Started { originals, change_modes: true });
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
fn volta_and_later_serve_48_clients_and_earlier_gpus_16() {
    assert_eq!(
        [clients_max((6, 1)), clients_max((7, 0)), clients_max((7, 5)), clients_max((9, 0))],
        [16, 48, 48, 48]
    );
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
