//! Looks with a mocked driver: what is told, and when.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use plugin_core::inventory::Facts;

use super::*;
use crate::gpu::MockGpuBackend;

/// Longest time for anything here that must happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long that no look is due by itself.
const NEVER: Duration = Duration::from_secs(3600);

type Answers = Arc<Mutex<Result<Facts, FindError>>>;

struct Bench {
    answers: Answers,
    asked: Arc<Notify>,
    told: mpsc::Receiver<Event>,
    dev: tempfile::TempDir,
}

fn bench(every: Duration) -> Bench {
    let answers: Answers = Arc::new(Mutex::new(Ok(facts("1"))));
    let mut backend = MockGpuBackend::new();
    let now = Arc::clone(&answers);
    backend.expect_find().returning(move || now.lock().unwrap().clone());
    let (asked, dev) = (Arc::new(Notify::new()), tempfile::tempdir().unwrap());
    let (events, told) = mpsc::channel(8);
    let settings = GpuWatchSettings { every, patience: PATIENCE, dev: dev.path().to_owned() };
    tokio::spawn(watch(GpuThread::start(Box::new(backend)), settings, Arc::clone(&asked), events));
    Bench { answers, asked, told, dev }
}

fn facts(driver_version: &str) -> Facts {
    Facts { driver_version: driver_version.into(), ..Facts::default() }
}

impl Bench {
    async fn next(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn only_a_difference_is_told_unless_somebody_asked() {
    let mut bench = bench(Duration::from_millis(5));
    bench.asked.notify_one();
    assert_eq!(bench.next().await, Event::GpusFound { facts: facts("1") });
    bench.asked.notify_one();
    assert_eq!(bench.next().await, Event::GpusFound { facts: facts("1") }, "an answer to who asked");
    *bench.answers.lock().unwrap() = Err(FindError::NoDriver { why: "gone".into() });
    assert_eq!(bench.next().await, Event::NoDriver { why: "gone".into() }, "many looks, one word");
    *bench.answers.lock().unwrap() = Ok(facts("2"));
    assert_eq!(bench.next().await, Event::GpusFound { facts: facts("2") });
}

#[tokio::test]
async fn a_new_device_node_of_the_driver_is_looked_at_at_once() {
    let mut bench = bench(NEVER);
    bench.asked.notify_one();
    bench.next().await;
    *bench.answers.lock().unwrap() = Ok(facts("2"));
    std::fs::write(bench.dev.path().join("nvidia7"), "").unwrap();
    assert_eq!(bench.next().await, Event::GpusFound { facts: facts("2") });
}

#[tokio::test]
async fn a_look_that_hangs_is_told_and_its_late_answer_as_well() {
    let (release, held) = sync_channel::<()>(1);
    let held = Mutex::new(held);
    let mut backend = MockGpuBackend::new();
    backend.expect_find().returning(move || {
        let _ = held.lock().unwrap().recv();
        Ok(facts("1"))
    });
    let (asked, dev) = (Arc::new(Notify::new()), tempfile::tempdir().unwrap());
    let (events, mut told) = mpsc::channel(8);
    let settings =
        GpuWatchSettings { every: NEVER, patience: Duration::from_millis(20), dev: dev.path().to_owned() };
    tokio::spawn(watch(GpuThread::start(Box::new(backend)), settings, Arc::clone(&asked), events));
    asked.notify_one();
    let stuck = Event::DriverStuck { call: "find_gpus".into(), gpu: None, waited_s: 0 };
    assert_eq!(told.recv().await, Some(stuck));
    drop(release);
    assert_eq!(told.recv().await, Some(Event::GpusFound { facts: facts("1") }));
}

#[tokio::test]
async fn a_look_that_never_returns_does_not_end_the_looks_after_one_that_did() {
    let (release, held) = sync_channel::<()>(1);
    let (held, mut calls) = (Mutex::new(held), 0);
    let mut backend = MockGpuBackend::new();
    backend.expect_find().times(1).returning(move || {
        let _ = held.lock().unwrap().recv();
        Ok(facts("0"))
    });
    backend.expect_find().returning(move || {
        calls += 1;
        Ok(facts(if calls < 3 { "1" } else { "2" }))
    });
    let (asked, dev) = (Arc::new(Notify::new()), tempfile::tempdir().unwrap());
    let (events, mut told) = mpsc::channel(8);
    let (every, patience) = (Duration::from_millis(20), Duration::from_millis(20));
    let settings = GpuWatchSettings { every, patience, dev: dev.path().to_owned() };
    tokio::spawn(watch(GpuThread::start(Box::new(backend)), settings, Arc::clone(&asked), events));
    asked.notify_one();
    let first = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap();
    assert!(matches!(first, Some(Event::DriverStuck { .. })), "{first:?}");
    // the plugin asks again after a while, and this one returns
    asked.notify_one();
    for version in ["1", "2"] {
        let next = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap();
        assert_eq!(next, Some(Event::GpusFound { facts: facts(version) }));
    }
    drop(release);
}
