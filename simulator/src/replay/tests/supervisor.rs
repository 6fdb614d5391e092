//! The journal of the other decider.

use plugin_core::inventory::{ComputeMode, GpuUuid};
use plugin_core::mps::{Desired, DesiredDaemon, SupervisorEvent};
use plugin_core::time::Time;

use super::*;

#[test]
fn the_supervisors_journal_replays_too() {
    let (gpu, mut lines) = (GpuUuid::new("GPU-0"), Vec::new());
    let daemon = DesiredDaemon {
        resource: plugin_core::config::ResourceName::gpu().shared(),
        replicas: 4,
        active_thread_percentage: 25,
        pinned_memory_limit_mib: None,
        client: Default::default(),
        gpus: Vec::new(),
    };
    let desired = Desired { generation: 1, daemons: [(gpu.clone(), daemon)].into() };
    let mode = ComputeMode::Default;
    let mut supervisor = Supervisor::new();
    let events = [
        SupervisorEvent::Started {
            originals: Default::default(),
            change_modes: true,
            daemons: Default::default(),
            alive: Default::default(),
        },
        SupervisorEvent::DesiredRead { desired },
        SupervisorEvent::ModeRead { gpu: gpu.clone(), mode },
        SupervisorEvent::ModeSet { gpu: gpu.clone() },
        SupervisorEvent::DaemonReady { gpu },
    ];
    for (at, event) in events.into_iter().enumerate() {
        let line = |record: serde_json::Value| {
            let mut line = serde_json::json!({"v": 1, "at": at});
            line.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
            line.to_string()
        };
        lines.push(line(serde_json::to_value(&event).unwrap()));
        supervisor.handle(Time::from_nanos(at as u64), event);
        while let Some(action) = supervisor.poll_action() {
            lines.push(line(serde_json::to_value(&action).unwrap()));
        }
    }
    let ring = Ring::of(&text(&lines));
    let (said, code) = outcome(&ring);
    assert!(code == EXIT_PASSED && said.contains("one run of the MPS supervisor, 5 events"), "{said}");
    let changed = text(&lines).replace("exclusive_process", "prohibited");
    let (said, code) = outcome(&Ring::of(&changed));
    assert_eq!(code, EXIT_FAILED);
    assert!(said.contains("- mode: recorded \"prohibited\", replayed \"exclusive_process\""), "{said}");
}
