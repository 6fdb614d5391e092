//! Benches of decisions need a node without IO: kubelet, API server and MPS supervisor answer at once, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::{Checkpoint, Event, Holding, ProcessList};
use plugin_core::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};
use plugin_core::journal::Entry;
use plugin_core::mps::{Actual, DaemonStatus};
use plugin_core::plugin::{ConfigSource, Plugin, Settings};
use plugin_core::settings::CONFIG_LABEL;
use plugin_core::time::Time;

/// Whole GPUs, as in the mixed cluster.
pub const EXCLUSIVE: &str = "version: v1\nflags:\n  migStrategy: none\n";

/// Four MPS replicas per GPU under a name of their own, as in the mixed cluster.
pub const MPS: &str = "version: v1\nsharing:\n  mps:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";

/// The label's value that selects [`MPS`].
pub const MPS_NAME: &str = "mps-config";

/// More events than this without the plugin coming to rest is a loop between the plugin and its neighbours.
const EVENTS_MAX: usize = 10_000;

/// Time-slicing with this many replicas per GPU, under the GPUs' own name.
pub fn time_slicing(replicas: u32) -> String {
    format!(
        "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: {replicas}\n"
    )
}

/// A UUID as long as a real one.
pub fn uuid(index: u32) -> GpuUuid {
    GpuUuid::new(format!("GPU-{index:08x}-51c8-4c4e-9d2f-0a5be93f6d00"))
}

/// Boards with 80 GB, four per NUMA node.
pub fn facts(gpus: u32) -> Facts {
    let gpu = |index| GpuFacts {
        uuid: uuid(index),
        index,
        minor: index,
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory_bytes: 81_559 * 1024 * 1024,
        compute_capability: (9, 0),
        pci_bus_id: format!("00000000:{index:02X}:00.0"),
        numa_node: Some(index / 4),
        mig_capable: true,
        compute_mode: ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    };
    let control_nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
    Facts {
        driver_version: "595.91.07".to_owned(),
        cuda_version: (13, 2),
        gpus: (0..gpus).map(gpu).collect(),
        links: Vec::new(),
        control_nodes: control_nodes.map(str::to_owned).to_vec(),
        ..Facts::default()
    }
}

/// A plugin and the neighbours that answer its actions.
#[derive(Debug)]
pub struct Node {
    /// What is measured.
    pub plugin: Plugin,
    /// The time of the newest event.
    pub now: Time,
    /// What PodResources lists.
    pub holdings: Vec<Holding>,
    /// Every event and action, when the node was made to record.
    pub journal: Option<Vec<Entry>>,
    facts: Facts,
    labels: BTreeMap<String, String>,
    supervisor_alive: bool,
    actual: Option<Actual>,
    inbox: VecDeque<Event>,
}

impl Node {
    /// A node with so many GPUs, started with this default configuration, settled and registered.
    pub fn started(gpus: u32, default_config: &str) -> Self {
        let mut node = Node::new(gpus);
        node.start(default_config);
        node
    }

    /// The same, with every event and action written down.
    pub fn recorded(gpus: u32, default_config: &str) -> Self {
        let mut node = Node::new(gpus);
        node.journal = Some(Vec::new());
        node.start(default_config);
        node
    }

    fn new(gpus: u32) -> Self {
        Node {
            plugin: Plugin::new(),
            now: Time::START,
            holdings: Vec::new(),
            journal: None,
            facts: facts(gpus),
            labels: BTreeMap::new(),
            supervisor_alive: false,
            actual: None,
            inbox: VecDeque::new(),
        }
    }

    fn start(&mut self, default_config: &str) {
        let settings = Settings {
            node_name: Some("gpu-1".to_owned()),
            config_source: ConfigSource::Directory {
                default_config: Some("default".to_owned()),
                fallback: Vec::new(),
            },
            ..Settings::default()
        };
        self.tell(Event::Started { settings: Box::new(settings), mps_desired: None });
        self.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
        let files = [("default", default_config), (MPS_NAME, MPS)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        self.tell(Event::ConfigRead { files: files.into() });
        self.tell(Event::NodeRead { labels: self.labels.clone() });
    }

    /// Tells the plugin an event, and answers its actions until it comes to rest.
    ///
    /// # Panics
    /// When it does not come to rest: then there is nothing to measure.
    pub fn tell(&mut self, event: Event) {
        self.inbox.push_back(event);
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.inbox.pop_front() else {
                return;
            };
            self.now = self.now + Duration::from_micros(10);
            if let Some(journal) = &mut self.journal {
                journal.push(Entry::event(self.now, event.clone()));
            }
            self.plugin.handle(self.now, event);
            while let Some(action) = self.plugin.poll_action() {
                if let Some(journal) = &mut self.journal {
                    journal.push(Entry::action(self.now, action.clone()));
                }
                self.answer(action);
            }
        }
        assert!(self.inbox.is_empty(), "more than {EVENTS_MAX} events and no rest");
    }

    /// Lets time pass, sending every timeout that the plugin asks for.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.plugin.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(Event::Timeout);
        }
        self.now = self.now.max(end);
    }

    /// Sets or removes the Node's configuration label.
    pub fn label(&mut self, config: Option<&str>) {
        match config {
            Some(name) => self.labels.insert(CONFIG_LABEL.to_owned(), name.to_owned()),
            None => self.labels.remove(CONFIG_LABEL),
        };
        self.tell(Event::NodeRead { labels: self.labels.clone() });
    }

    fn answer(&mut self, action: Action) {
        let event = match action {
            Action::FindGpus => Event::GpusFound { facts: self.facts.clone() },
            Action::Listen { resource, endpoint, attempt } => {
                Event::Listening { resource, endpoint, attempt }
            }
            Action::Register { resource, attempt, .. } => Event::Registered { resource, attempt },
            Action::ReadHolders => {
                Event::HoldersRead { holdings: self.holdings.clone(), checkpoint: Checkpoint::Unread }
            }
            Action::PatchLabels { labels } => self.patched(labels),
            Action::WriteMpsDesired { desired } => {
                let ready = |gpu: &GpuUuid| (gpu.clone(), DaemonStatus::Ready);
                self.actual = Some(Actual {
                    generation: desired.generation,
                    daemons: desired.daemons.keys().map(ready).collect(),
                });
                self.supervisor_reports()
            }
            Action::ReadProcesses { gpu } => {
                Event::ProcessesRead { gpu, list: ProcessList::Read { processes: Vec::new() } }
            }
            _ => return,
        };
        self.inbox.push_back(event);
    }

    /// The API server takes the patch; the supervisor's DaemonSet follows its label.
    fn patched(&mut self, labels: BTreeMap<String, Option<String>>) -> Event {
        for (key, value) in labels {
            match value {
                Some(value) => self.labels.insert(key, value),
                None => self.labels.remove(&key),
            };
        }
        self.inbox.push_back(Event::LabelsPatched);
        let wanted = self.labels.get(plugin_core::labels::MPS_CAPABLE).is_some_and(|v| v == "true");
        if wanted != self.supervisor_alive {
            self.supervisor_alive = wanted;
            let report = self.supervisor_reports();
            self.inbox.push_back(report);
        }
        Event::NodeRead { labels: self.labels.clone() }
    }

    fn supervisor_reports(&self) -> Event {
        Event::MpsReported { supervisor_alive: self.supervisor_alive, actual: self.actual.clone() }
    }
}
