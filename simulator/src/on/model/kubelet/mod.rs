//! A node's kubelet: the fake cluster's own ledger decides, and every message to and from it takes its time here.
//!
//! [`registration`] is how plugins come and go, [`admission`] how pods get devices, [`pods`] and
//! [`containers`] how they live and end, [`status`] what the node and PodResources show. Not modelled: a node that turns NotReady because its kubelet is gone.

mod admission;
mod containers;
mod list_trouble;
mod pods;
mod registration;
mod response;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fake_cluster::kubelet::Profile;
use fake_cluster::kubelet::ledger::{Checkpoint, ClientId, Ledger, LedgerSettings, Order, RunningContainers};

use self::admission::{Admitting, Turn};
use self::list_trouble::ListTrouble;
use self::pods::Local;
use self::status::Bucket;
use super::api::pods::uid;
use super::engine::{Channel, Context};
use super::happening::{PodId, ServerId, StreamId, What};
use super::host::Host;
use super::latency;
use super::message::Register;
use crate::scenario::Timers;
use crate::world::{DeviceCounts, KubeletView};

/// How many quick status writes follow a start.
const QUICK_TICKS: u32 = 10;

/// A kubelet's connection to a server that registered.
#[derive(Debug)]
struct Connection {
    server: ServerId,
    resource: String,
    streaming: bool,
}

/// What lives and dies with the process.
#[derive(Debug)]
struct Running {
    ledger: Ledger,
    began: u64,
    connections: BTreeMap<ClientId, Connection>,
    /// Devices in the newest list of each resource, and whose list it was.
    lists: BTreeMap<String, (ClientId, u64)>,
    /// Who waits for the admission of the one before.
    queue: VecDeque<Turn>,
    admitting: Option<Admitting>,
    calls: u64,
    /// Register calls that are not answered yet.
    registering: Vec<Register>,
    bucket: Bucket,
    /// The first list of pods has come.
    listed: bool,
    /// All pods of the first list have been admitted.
    sources_ready: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Kubelet {
    /// Counts starts and ends of the process; what was meant for an earlier life is lost.
    life: u32,
    running: Option<Running>,
    /// The checkpoint file, as a kubelet that starts finds it: made when the process ends. While it runs its ledger knows
    /// what the file holds.
    checkpoint: Checkpoint,
    /// Until when the process hangs.
    hung_until: u64,
    late: Channel,
    /// Its socket exists although the process does not serve yet.
    bound: bool,
    /// For how long PodResources lists nothing after the next start, in nanoseconds.
    pub(super) lists_nothing_for: u64,
    lists_nothing_until: u64,
    /// What is wrong with PodResources.
    list_trouble: ListTrouble,
    registrations: BTreeMap<String, u64>,
    /// Why the process died by a defect, once for each time.
    pub(super) died: Vec<String>,
    /// Pods whose containers were stopped since somebody looked.
    pub(super) stopped: Vec<PodId>,
    /// The newest lists, counted by GPU.
    lists: DeviceCounts,
    /// Pods on this node; their containers outlive the process.
    pods: BTreeMap<PodId, Local>,
    timers: Timers,
    profile: Profile,
    seed: u64,
}

impl Kubelet {
    /// A kubelet that has not started yet.
    pub(super) fn new(timers: Timers, seed: u64) -> Kubelet {
        Kubelet {
            life: 0,
            running: None,
            checkpoint: Checkpoint::default(),
            hung_until: 0,
            late: Channel::default(),
            bound: false,
            lists_nothing_for: 0,
            lists_nothing_until: 0,
            list_trouble: ListTrouble::None,
            registrations: BTreeMap::new(),
            died: Vec::new(),
            stopped: Vec::new(),
            lists: DeviceCounts::new(),
            pods: BTreeMap::new(),
            timers,
            profile: Profile::v1_36(),
            seed,
        }
    }

    /// Imitates another kubelet.
    pub(super) fn with_profile(mut self, profile: Profile) -> Kubelet {
        self.profile = profile;
        self
    }

    /// The longest time until a changed config map is in its volume, in nanoseconds.
    pub(super) fn config_map_sync(&self) -> u64 {
        u64::try_from(self.timers.config_map_sync.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the process runs.
    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the process runs and does not hang.
    pub(super) fn listens(&self, now: u64) -> bool {
        self.is_up() && self.hangs_until(now).is_none()
    }

    /// Until when the process hangs, if it does.
    pub(super) fn hangs_until(&self, now: u64) -> Option<u64> {
        (self.hung_until > now).then_some(self.hung_until)
    }

    /// The process stops doing anything for a while.
    pub(super) fn hang(&mut self, until: u64) {
        self.hung_until = self.hung_until.max(until);
    }

    /// Does later what a hanging process cannot do now.
    pub(super) fn put_off(&mut self, cx: &mut Context<'_>, what: What) {
        let pause = self.hung_until.saturating_sub(cx.now());
        let latency = latency::Latency { least: pause, most: pause };
        let mut late = self.late;
        cx.through(&mut late, latency, what);
        self.late = late;
    }

    /// The process starts: sweeps the directory's sockets, reads the checkpoint, and makes its own socket.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        if self.running.is_some() {
            return;
        }
        self.life += 1;
        self.hung_until = 0;
        if !std::mem::take(&mut self.bound) {
            registration::make_socket(host, cx.now());
        }
        self.lists_nothing_until = cx.now() + std::mem::take(&mut self.lists_nothing_for);
        let settings = LedgerSettings {
            profile: self.profile.clone(),
            endpoint_stop_grace: self.timers.endpoint_grace,
            order: Order::Seeded(self.seed ^ cx.engine.draw()),
            sources_ready: false,
            running: self.running_containers(cx),
        };
        let ledger = Ledger::restore(settings, &self.checkpoint, Duration::ZERO);
        for local in self.pods.values_mut() {
            local.is_known = false;
        }
        self.running = Some(Running {
            ledger,
            began: cx.now(),
            connections: BTreeMap::new(),
            lists: BTreeMap::new(),
            queue: VecDeque::new(),
            admitting: None,
            calls: 0,
            registering: Vec::new(),
            bucket: Bucket::new(cx.now()),
            listed: false,
            sources_ready: false,
        });
        cx.after(latency::API, What::PodsListed(self.life));
        cx.at(cx.now(), What::Ticks(self.life, QUICK_TICKS));
        cx.show();
    }

    /// The process has swept the directory and bound its socket, and does not listen yet.
    pub(super) fn binds(&mut self, now: u64, host: &mut Host) {
        if self.running.is_none() {
            self.bound = true;
            registration::make_socket(host, now);
        }
    }

    /// The process ends, however that happens; its socket stays on disk.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>) {
        self.bound = false;
        let Some(running) = self.running.take() else {
            return;
        };
        self.checkpoint = running.ledger.checkpoint_file();
        registration::broken_off(cx, running.registering);
        self.lists.clear();
        for (client, connection) in running.connections {
            if connection.streaming {
                let kubelet = self.life;
                let stream = StreamId { kubelet, client, server: connection.server };
                cx.after(latency::SOCKET, What::StreamLeft(stream));
            }
        }
        self.life += 1;
        self.hung_until = 0;
        cx.show();
    }

    /// The file is gone: the next process starts with nothing.
    pub(super) fn lose_checkpoint(&mut self) {
        self.checkpoint = Checkpoint::default();
    }

    /// The machine went down: no container runs any more.
    pub(super) fn lose_containers(&mut self) {
        for local in self.pods.values_mut() {
            local.lose_containers();
        }
    }

    /// What can be seen of the process.
    pub(super) fn view(&self) -> KubeletView {
        KubeletView {
            running: self.running.is_some(),
            starts: u64::from(self.life.div_ceil(2)),
            died: self.died.clone(),
            ..KubeletView::default()
        }
    }

    /// Resources with a live endpoint → devices in the newest list.
    pub(super) fn registered(&self) -> BTreeMap<String, u64> {
        let Some(running) = &self.running else {
            return BTreeMap::new();
        };
        let lists = running.lists.iter().filter(|(_, (client, _))| {
            running.connections.get(client).is_some_and(|connection| connection.streaming)
        });
        lists.map(|(resource, (_, devices))| (resource.clone(), *devices)).collect()
    }

    /// The newest device lists, counted.
    pub(super) fn lists(&self) -> &DeviceCounts {
        &self.lists
    }

    /// Resource → registrations so far, over all lives.
    pub(super) fn registrations(&self) -> &BTreeMap<String, u64> {
        &self.registrations
    }

    /// The process in its present life, if the happening was meant for it.
    fn living(&mut self, life: u32) -> Option<&mut Running> {
        if life == self.life { self.running.as_mut() } else { None }
    }

    fn running_containers(&self, cx: &Context<'_>) -> RunningContainers {
        let running = self.pods.iter().filter(|(_, local)| local.is_running());
        running
            .filter_map(|(id, _)| {
                let template = &cx.api.pods.get(id)?.template;
                let names = template
                    .containers
                    .iter()
                    .filter(|c| !matches!(c.kind, fake_cluster::kubelet::ContainerKind::Init))
                    .map(|c| c.name.clone());
                Some((uid(*id), names.collect()))
            })
            .collect()
    }
}

impl Running {
    /// Time since the process's start.
    fn age(&self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.began))
    }
}
