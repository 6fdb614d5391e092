//! The supervisor's process with a mocked GPU backend and no control program.

use std::sync::{Arc, Mutex};

use plugin_core::config::ResourceName;
use plugin_core::inventory::ComputeMode;
use plugin_core::mps::{Actual, ClientLimits, DaemonStatus, Desired, DesiredDaemon};

use super::*;
use crate::dir_watch::DirWatch;
use crate::gpu::MockGpuBackend;

/// Longest time for anything here.
const PATIENCE: Duration = Duration::from_secs(10);

fn gpu() -> GpuUuid {
    GpuUuid::new("GPU-a")
}

fn desired() -> Desired {
    let daemon = DesiredDaemon {
        resource: ResourceName::gpu().shared(),
        replicas: 4,
        active_thread_percentage: 25,
        pinned_memory_limit_mib: None,
        client: ClientLimits::default(),
        gpus: Vec::new(),
    };
    Desired { generation: 1, daemons: BTreeMap::from([(gpu(), daemon)]) }
}

/// The modes that were set, in their order.
type ModesSet = Arc<Mutex<Vec<ComputeMode>>>;

fn backend(modes: &ModesSet) -> Box<dyn GpuBackend> {
    let modes = Arc::clone(modes);
    let mut backend = MockGpuBackend::new();
    backend.expect_compute_mode().returning(|_| Ok(ComputeMode::Default));
    backend.expect_set_compute_mode().returning(move |_, mode| {
        modes.lock().unwrap().push(mode);
        Ok(())
    });
    Box::new(backend)
}

fn supervisor(root: &MpsRoot, modes: &ModesSet) -> (SupervisorLoop, mpsc::Receiver<SupervisorEvent>) {
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    root.create().unwrap();
    let supervisor = SupervisorLoop {
        core: Supervisor::new(),
        begin: Instant::now(),
        journal: None,
        root: root.clone(),
        originals_unsaved: None,
        daemons_unsaved: None,
        report_unsaved: None,
        control: MpsControl { program: "/nonexistent/control".into(), root: root.clone(), multi_user: false },
        gpus: GpuThread::start(backend(modes)),
        workers: BTreeMap::new(),
        events,
    };
    (supervisor, queue)
}

fn started() -> SupervisorEvent {
    SupervisorEvent::Started {
        originals: OriginalModes::new(),
        change_modes: true,
        daemons: Daemons::new(),
        alive: [].into(),
    }
}

/// Waits, by the kernel's notice, until `actual.json` is as wanted.
async fn wait_for_actual(root: &MpsRoot, wanted: impl Fn(&Actual) -> bool) -> Actual {
    let mut changes = DirWatch::new(&root.0);
    let waited = async {
        loop {
            match mps_files::read_json::<Actual>(&root.actual()) {
                Ok(Some(actual)) if wanted(&actual) => return actual,
                _ => changes.changed().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap()
}

#[tokio::test]
async fn a_daemon_that_cannot_start_is_reported_and_a_stop_gives_the_mode_back() {
    let directory = tempfile::tempdir().unwrap();
    let root = MpsRoot(directory.path().join("mps"));
    let modes = ModesSet::default();
    let (mut supervisor, queue) = supervisor(&root, &modes);
    mps_files::write_json(&root.desired(), &desired()).unwrap();
    tokio::spawn(watch_desired(root.clone(), supervisor.events.clone()));
    let (stop, stopped) = mpsc::channel(1);
    let task = tokio::spawn(async move { supervisor.run(started(), queue, stopped).await });

    let failed = |a: &Actual| matches!(a.daemons.get(&gpu()), Some(DaemonStatus::Failed { .. }));
    let actual = wait_for_actual(&root, failed).await;
    assert_eq!(actual.generation, 1);
    let why = serde_json::to_string(&actual).unwrap();
    assert!(why.contains("/nonexistent/control"), "{why}");
    let originals: OriginalModes = mps_files::read_json(&root.compute_modes()).unwrap().unwrap();
    assert_eq!(originals, BTreeMap::from([(gpu(), ComputeMode::Default)]));

    stop.send(()).await.unwrap();
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(modes.lock().unwrap().last(), Some(&ComputeMode::Default));
    assert_eq!(
        mps_files::read_json::<OriginalModes>(&root.compute_modes()).unwrap(),
        Some(OriginalModes::new())
    );
    let last: Actual = mps_files::read_json(&root.actual()).unwrap().unwrap();
    assert!(last.daemons.is_empty());
}

#[tokio::test]
async fn no_mode_changes_before_the_original_one_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let root = MpsRoot(directory.path().join("mps"));
    let modes = ModesSet::default();
    let (mut supervisor, mut queue) = supervisor(&root, &modes);
    // a directory in its place cannot be replaced by a file
    std::fs::create_dir(root.compute_modes()).unwrap();
    supervisor.step(started());
    supervisor.step(SupervisorEvent::DesiredRead { desired: desired() });
    let read = queue.recv().await.unwrap();
    assert_eq!(read, SupervisorEvent::ModeRead { gpu: gpu(), mode: ComputeMode::Default });
    supervisor.step(read);
    let refused = queue.recv().await.unwrap();
    assert!(
        matches!(&refused, SupervisorEvent::ModeFailed { why, .. } if why.contains("compute-modes.json"))
    );
    assert!(modes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_report_that_could_not_be_written_is_written_as_soon_as_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let root = MpsRoot(directory.path().join("mps"));
    let modes = ModesSet::default();
    let (mut supervisor, mut queue) = supervisor(&root, &modes);
    let (_stop, mut stopped) = mpsc::channel(1);
    // a directory in its place cannot be replaced by a file
    std::fs::create_dir(root.actual()).unwrap();
    supervisor.step(started());
    assert!(supervisor.report_unsaved.is_some());
    std::fs::remove_dir(root.actual()).unwrap();
    let again = supervisor.next_event(&mut queue, &mut stopped);
    let again = tokio::time::timeout(PATIENCE, again).await.unwrap().unwrap();
    assert_eq!(again, SupervisorEvent::Timeout, "nothing else happens");
    supervisor.step(again);
    let actual = mps_files::read_json::<Actual>(&root.actual()).unwrap();
    assert_eq!(actual, Some(Actual::default()));
    assert!(supervisor.report_unsaved.is_none());
}

#[tokio::test]
async fn a_second_supervisor_waits_for_the_first_and_can_be_stopped_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let root = MpsRoot(directory.path().to_owned());
    let (_stop, mut never) = mpsc::channel(1);
    let first = lock(&root, &mut never).await.unwrap().unwrap();
    let (stop, mut stopped) = mpsc::channel(1);
    stop.send(()).await.unwrap();
    assert!(lock(&root, &mut stopped).await.unwrap().is_none());
    drop(first);
    assert!(lock(&root, &mut never).await.unwrap().is_some());
}
