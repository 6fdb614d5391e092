//! Programs that run on every node whose labels match, because a label flip must be able to start and stop one there,
//! as a DaemonSet with a node selector does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::api::events::{EventText, record};
use crate::api::{ApiHandle, Key, Part, PatchKind, Resource, Selector};
use crate::scheduler::fit::belongs;

/// Something that can run once on each node. `start` and `stop` of one node never overlap.
pub trait Program: Send + Sync {
    /// Starts the program on a node; the answer comes when it runs.
    ///
    /// # Errors
    /// A sentence saying why it does not run.
    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Asks the program on a node to end and waits until it has. Cancelled after the controller's bound, then asked to [`Program::kill`].
    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()>;

    /// Ends the program on a node at once.
    fn kill<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()>;
}

/// A program and the nodes it belongs on.
#[derive(Clone)]
pub struct DaemonSet {
    /// Its name in messages.
    pub name: String,
    /// The pod template: its node selector, affinity and tolerations say on which nodes.
    pub template: Value,
    /// What runs.
    pub program: Arc<dyn Program>,
    /// The API object whose status tells of it, where there is one.
    pub object: Option<Key>,
}

/// Bounds of the controller.
#[derive(Clone, Copy, Debug)]
pub struct DaemonSetSettings {
    /// How long a program may take to stop before it is killed (Kubernetes: 30 s).
    pub stop_max: Duration,
    /// How long after a failed start it is tried again.
    pub retry_after: Duration,
}

impl Default for DaemonSetSettings {
    fn default() -> DaemonSetSettings {
        DaemonSetSettings { stop_max: Duration::from_secs(30), retry_after: Duration::from_secs(1) }
    }
}

/// The running controller. Dropping it leaves the programs running; use [`DaemonSets::stop`].
#[derive(Debug)]
pub struct DaemonSets {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl DaemonSets {
    /// Starts the controller; must be called inside a tokio runtime.
    pub fn start(handle: ApiHandle, sets: Vec<DaemonSet>, settings: DaemonSetSettings) -> DaemonSets {
        let (end, ended) = oneshot::channel();
        let controller = Controller { handle, sets, settings, places: BTreeMap::new(), work: JoinSet::new() };
        DaemonSets { end, task: tokio::spawn(controller.run(ended)) }
    }

    /// Stops every program on every node, each within the bound, and the controller.
    pub async fn stop(self) {
        drop(self.end);
        if let Err(why) = self.task.await {
            tracing::error!(%why, "the daemon set controller ended early");
        }
    }
}

/// A program on a node: the index of its daemon set, and the node.
type Place = (usize, String);

/// What is true at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `start` or `stop` is under way; nothing else is begun until it is done.
    Busy,
    /// The program runs.
    Running,
    /// The last start failed; the next one is not before this time.
    Failed(Instant),
}

struct Controller {
    handle: ApiHandle,
    sets: Vec<DaemonSet>,
    settings: DaemonSetSettings,
    places: BTreeMap<Place, State>,
    /// At most one task per place.
    work: JoinSet<(Place, Option<State>)>,
}

impl Controller {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let handle = self.handle.clone();
        let mut changes = handle.subscribe();
        loop {
            changes.mark_unchanged();
            let wanted = self.wanted();
            self.reconcile(&wanted);
            self.tell(&wanted);
            let retry = self.next_retry();
            tokio::select! {
                _ = &mut ended => break,
                changed = changes.changed() => if changed.is_err() { break },
                Some(done) = self.work.join_next() => self.note(done),
                () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
        }
        self.stop_all().await;
    }

    fn wanted(&self) -> Vec<Place> {
        let nodes = self.handle.read(|store| store.list(Resource::Nodes, None, &Selector::everything()));
        let mut wanted = Vec::new();
        for (index, set) in self.sets.iter().enumerate() {
            for node in &nodes {
                let Some(place) = name(node).map(|name| (index, name)) else {
                    continue;
                };
                let runs = matches!(self.places.get(&place), Some(State::Busy | State::Running));
                if belongs(&set.template, node, runs) {
                    wanted.push(place);
                }
            }
        }
        wanted
    }

    fn reconcile(&mut self, wanted: &[Place]) {
        for place in wanted {
            let due = match self.places.get(place) {
                None => true,
                Some(State::Failed(retry)) => *retry <= Instant::now(),
                Some(State::Busy | State::Running) => false,
            };
            if due {
                self.begin_start(place.clone());
            }
        }
        self.places.retain(|place, state| wanted.contains(place) || !matches!(state, State::Failed(_)));
        let surplus = |(place, state): (&Place, &State)| {
            (*state == State::Running && !wanted.contains(place)).then(|| place.clone())
        };
        let surplus: Vec<Place> = self.places.iter().filter_map(surplus).collect();
        for place in surplus {
            self.begin_stop(place);
        }
    }

    /// Keeps the status of the API objects true.
    fn tell(&self, wanted: &[Place]) {
        for (index, set) in self.sets.iter().enumerate() {
            let Some(key) = &set.object else {
                continue;
            };
            let of_set = |place: &&Place| place.0 == index;
            let states = || self.places.iter().filter(|(place, _)| of_set(place)).map(|(_, state)| *state);
            let running = states().filter(|state| *state == State::Running).count();
            let status = json!({
                "desiredNumberScheduled": wanted.iter().filter(of_set).count(),
                "currentNumberScheduled": states().count(),
                "numberReady": running,
                "updatedNumberScheduled": running,
                "numberAvailable": running,
                "numberMisscheduled": 0,
            });
            self.handle.write(|store, now| {
                let told = store.get(key).is_ok_and(|object| object["status"] == status);
                let patch = json!({"status": status});
                // a DaemonSet that is being removed has no status any more
                told || store.patch(key, PatchKind::Merge, &patch, Part::Status, now).is_ok()
            });
        }
    }

    fn begin_start(&mut self, place: Place) {
        let Some(set) = self.sets.get(place.0).cloned() else {
            return;
        };
        self.places.insert(place.clone(), State::Busy);
        let (handle, retry_after) = (self.handle.clone(), self.settings.retry_after);
        self.work.spawn(async move {
            match set.program.start(&place.1).await {
                Ok(()) => (place, Some(State::Running)),
                Err(why) => {
                    tracing::warn!(program = set.name, node = place.1, why, "a program did not start");
                    report(&handle, &place.1, &set.name, &why);
                    (place, Some(State::Failed(Instant::now() + retry_after)))
                }
            }
        });
    }

    fn begin_stop(&mut self, place: Place) {
        let Some(set) = self.sets.get(place.0).cloned() else {
            return;
        };
        self.places.insert(place.clone(), State::Busy);
        let stop_max = self.settings.stop_max;
        self.work.spawn(async move {
            if tokio::time::timeout(stop_max, set.program.stop(&place.1)).await.is_err() {
                tracing::warn!(
                    program = set.name,
                    node = place.1,
                    ?stop_max,
                    "killed, it did not stop in time"
                );
                set.program.kill(&place.1).await;
            }
            (place, None)
        });
    }

    fn note(&mut self, done: Result<(Place, Option<State>), tokio::task::JoinError>) {
        match done {
            Ok((place, Some(state))) => {
                self.places.insert(place, state);
            }
            Ok((place, None)) => {
                self.places.remove(&place);
            }
            Err(why) => tracing::error!(%why, "starting or stopping a program broke off"),
        }
    }

    fn next_retry(&self) -> Option<Instant> {
        let retries = self.places.values().filter_map(|state| match state {
            State::Failed(retry) => Some(*retry),
            State::Busy | State::Running => None,
        });
        retries.min()
    }

    /// First lets starts and stops under way finish, then stops what runs, all at the same time.
    async fn stop_all(&mut self) {
        while let Some(done) = self.work.join_next().await {
            self.note(done);
        }
        let running = self.places.iter().filter(|(_, state)| **state == State::Running);
        let running: Vec<Place> = running.map(|(place, _)| place.clone()).collect();
        for place in running {
            self.begin_stop(place);
        }
        while let Some(done) = self.work.join_next().await {
            self.note(done);
        }
    }
}

fn name(node: &Value) -> Option<String> {
    node["metadata"]["name"].as_str().map(str::to_string)
}

fn report(handle: &ApiHandle, node: &str, program: &str, why: &str) {
    handle.write(|store, now| {
        if let Ok(node) = store.get(&Key::node(node)) {
            let message = format!("`{program}` did not start: {why}");
            let text = EventText {
                warning: true,
                reason: "FailedStart",
                message: &message,
                component: "daemonset-controller",
            };
            record(store, &node, text, now);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    /// Remembers what it was asked; the first starts may fail, and `stop` may hang.
    struct Recorder {
        told: watch::Sender<Vec<String>>,
        failures: std::sync::atomic::AtomicU32,
        hangs: bool,
    }

    impl Recorder {
        fn new(failures: u32, hangs: bool) -> Arc<Recorder> {
            Arc::new(Recorder { told: watch::Sender::new(Vec::new()), failures: failures.into(), hangs })
        }

        fn tell(&self, what: &str, node: &str) {
            self.told.send_modify(|told| told.push(format!("{what} {node}")));
        }

        async fn expect(&self, wanted: &[&str]) {
            let mut told = self.told.subscribe();
            let seen = told.wait_for(|told| told.len() >= wanted.len());
            let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
            let seen =
                seen.unwrap_or_else(|_| panic!("only {:?} of {wanted:?}", self.told.borrow())).unwrap();
            assert_eq!(*seen, wanted);
        }
    }

    impl Program for Recorder {
        fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), String>> {
            Box::pin(async move {
                let left = self.failures.load(std::sync::atomic::Ordering::Relaxed);
                if left > 0 {
                    self.failures.store(left - 1, std::sync::atomic::Ordering::Relaxed);
                    return Err("the binary is missing".to_string());
                }
                self.tell("start", node);
                Ok(())
            })
        }

        fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
            Box::pin(async move {
                self.tell("stop", node);
                if self.hangs {
                    std::future::pending::<()>().await;
                }
            })
        }

        fn kill<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
            Box::pin(async move { self.tell("kill", node) })
        }
    }

    fn cluster() -> ApiHandle {
        let handle = ApiHandle::empty_cluster().unwrap();
        for name in ["n1", "n2"] {
            let node = json!({"metadata": {"name": name}});
            handle.write(|store, now| store.create(Resource::Nodes, "", node, now)).unwrap();
        }
        handle
    }

    fn label(handle: &ApiHandle, node: &str, value: Value) {
        let patch = json!({"metadata": {"labels": {"nvidia.com/mps.capable": value}}});
        handle
            .write(|store, now| store.patch(&Key::node(node), PatchKind::Merge, &patch, Part::Main, now))
            .unwrap();
    }

    fn start(handle: &ApiHandle, program: Arc<Recorder>) -> DaemonSets {
        let template = json!({"spec": {"nodeSelector": {"nvidia.com/mps.capable": "true"}}});
        let sets = vec![DaemonSet { name: "mps".to_string(), template, program, object: None }];
        let settings =
            DaemonSetSettings { stop_max: Duration::from_millis(20), retry_after: Duration::from_millis(5) };
        DaemonSets::start(handle.clone(), sets, settings)
    }

    #[tokio::test]
    async fn a_label_starts_the_program_on_its_node_and_its_removal_stops_it() {
        let (handle, program) = (cluster(), Recorder::new(0, false));
        let sets = start(&handle, program.clone());
        label(&handle, "n2", json!("true"));
        program.expect(&["start n2"]).await;
        label(&handle, "n1", json!("false"));
        label(&handle, "n2", Value::Null);
        program.expect(&["start n2", "stop n2"]).await;
        sets.stop().await;
        assert_eq!(program.told.borrow().len(), 2);
    }

    #[tokio::test]
    async fn stopping_the_controller_stops_what_runs_and_kills_what_hangs() {
        let (handle, program) = (cluster(), Recorder::new(0, true));
        label(&handle, "n1", json!("true"));
        let sets = start(&handle, program.clone());
        program.expect(&["start n1"]).await;
        sets.stop().await;
        program.expect(&["start n1", "stop n1", "kill n1"]).await;
    }

    #[tokio::test]
    async fn a_failed_start_is_reported_and_tried_again() {
        let (handle, program) = (cluster(), Recorder::new(2, false));
        label(&handle, "n1", json!("true"));
        let sets = start(&handle, program.clone());
        program.expect(&["start n1"]).await;
        let events = handle.read(|store| store.list(Resource::Events, None, &Selector::everything()));
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["count"], &events[0]["reason"]), (&json!(2), &json!("FailedStart")));
        sets.stop().await;
    }
}
