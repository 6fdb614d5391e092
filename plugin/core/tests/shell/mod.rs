//! A node whose neighbours behave: they answer the core's actions at once, in virtual time.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::cdi::Found;
use plugin_core::config::{ResourceName, TimeSlice};
use plugin_core::event::{BoundPod, Checkpoint, Event, Holding, ProcessList};
use plugin_core::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};
use plugin_core::journal::{Entry, replay};
use plugin_core::mps::{Actual, DaemonStatus, Desired};
use plugin_core::plugin::{ConfigSource, Plugin, Settings, Timing};
use plugin_core::taints::{NOTE, Taint};
use plugin_core::time::Time;
use plugin_core::time_slice::{SliceFailure, SliceSet};

pub const DEFAULT: &str = "version: v1\nflags:\n  migStrategy: none\n";
pub const MPS: &str = "version: v1\nsharing:\n  mps:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";
pub const CONFIG_LABEL: &str = "nvidia.com/device-plugin.config";

/// A node whose neighbours behave: kubelet, API server and MPS supervisor answer at once.
pub struct Node {
    pub plugin: Plugin,
    pub now: Time,
    pub labels: BTreeMap<String, String>,
    pub holdings: Vec<Holding>,
    pub supervisor_alive: bool,
    pub actual: Option<Actual>,
    pub facts: Option<Facts>,
    /// A look at the GPUs is answered by nothing.
    pub silent: bool,
    pub said: Vec<String>,
    pub exit: Option<(u8, String)>,
    pub journal: Vec<Entry>,
    pub actions: Vec<Action>,
    pub desired: Option<Desired>,
    /// The state file, which outlives the plugin.
    pub state: Option<String>,
    pub state_is_writable: bool,
    /// The state file with what is known of the GPUs.
    pub kept_gpus: Option<String>,
    /// The driver's files and the spec directory.
    pub found: Found,
    /// Why specs cannot be written, if they cannot.
    pub read_only: Option<String>,
    /// The plugin's configurations.
    pub files: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// The Node's taints, whoever added them.
    pub taints: Vec<Taint>,
    /// The API server takes no change of taints, and says so.
    pub taints_refused: bool,
    /// The API server answers; otherwise the Node cannot be read or written.
    pub api_is_up: bool,
    /// The kubelet's age in milliseconds, and whether it has a checkpoint.
    pub kubelet: (u64, bool),
    /// PodResources answers.
    pub holders_readable: bool,
    /// The kubelet's checkpoint.
    pub checkpoint: Checkpoint,
    /// The pods of this Node, as the API server has them, and the number under which they are watched.
    pub pods: Vec<BoundPod>,
    pub pods_watched: Option<u64>,
    /// What the Node promises, and whether the kubelet writes it.
    pub figures: BTreeMap<String, u64>,
    pub kubelet_tells: bool,
    /// What the kubelet may hand out where that is not what was listed; `None`: it cannot tell.
    pub allocatable: Option<BTreeMap<String, Vec<String>>>,
    /// Resources that the kubelet does not take.
    pub refused: BTreeSet<ResourceName>,
    /// What NVML tells of processes, where there are any, by GPU; and whether it has not answered yet.
    pub processes: BTreeMap<GpuUuid, ProcessList>,
    pub nvml_is_silent: bool,
    /// What the driver has for the time slices of GPUs, and why it takes no other, and whether it never will.
    pub time_slices: BTreeMap<GpuUuid, TimeSlice>,
    pub time_slices_fail: Option<(String, bool)>,
    inbox: VecDeque<Event>,
}

impl Node {
    pub fn new(gpus: u32) -> Self {
        Node {
            plugin: Plugin::new(),
            now: Time::START,
            labels: BTreeMap::new(),
            holdings: Vec::new(),
            supervisor_alive: false,
            actual: None,
            silent: false,
            facts: (gpus > 0).then(|| facts(gpus)),
            said: Vec::new(),
            exit: None,
            journal: Vec::new(),
            actions: Vec::new(),
            desired: None,
            state: None,
            state_is_writable: true,
            kept_gpus: None,
            found: Found::default(),
            read_only: None,
            files: [("default", DEFAULT), ("mps-config", MPS)]
                .map(|(n, t)| (n.to_owned(), t.to_owned()))
                .into(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            taints_refused: false,
            api_is_up: true,
            kubelet: (60_000, true),
            holders_readable: true,
            checkpoint: Checkpoint::Unread,
            pods: Vec::new(),
            pods_watched: None,
            figures: BTreeMap::new(),
            kubelet_tells: true,
            allocatable: Some(BTreeMap::new()),
            refused: BTreeSet::new(),
            processes: BTreeMap::new(),
            nvml_is_silent: false,
            time_slices: BTreeMap::new(),
            time_slices_fail: None,
            inbox: VecDeque::new(),
        }
    }

    /// A node with the two configurations of the mixed cluster, started and settled.
    pub fn started(gpus: u32) -> Self {
        let mut node = Node::new(gpus);
        node.start();
        node
    }

    /// How the plugin of a node of the mixed cluster is told to behave.
    pub fn settings() -> Settings {
        // the neighbours answer at once, so nobody has to be waited for
        let timing = Timing { bind_settle: Duration::ZERO, ..Timing::default() };
        Settings {
            timing,
            node_name: Some("gpu-2".into()),
            config_source: ConfigSource::Directory {
                default_config: Some("default".into()),
                fallback: Vec::new(),
            },
            ..Settings::default()
        }
    }

    pub fn start(&mut self) {
        let mps_desired = self.desired.clone();
        self.tell(Event::Started { settings: Box::new(Node::settings()), mps_desired });
        self.tell(Event::KeptGpusRead { text: self.kept_gpus.clone() });
        self.tell(Event::LastGoodRead { text: self.state.clone() });
        let (age_ms, has_checkpoint) = self.kubelet;
        self.tell(Event::KubeletAppeared { age_ms, has_checkpoint });
        self.tell(Event::ConfigRead { files: self.files.clone() });
        self.tell_node();
    }

    /// The plugin's process is replaced by a new one; everything around it stays.
    pub fn restart_plugin(&mut self) {
        self.plugin = Plugin::new();
        self.journal.clear();
        self.inbox.clear();
        self.start();
        let event =
            Event::MpsReported { supervisor_alive: self.supervisor_alive, actual: self.actual.clone() };
        self.tell(event);
    }

    pub fn tell(&mut self, event: Event) {
        self.inbox.push_back(event);
        while let Some(event) = self.inbox.pop_front() {
            self.now = self.now + Duration::from_micros(10);
            self.journal.push(Entry::event(self.now, event.clone()));
            let is_timeout = event == Event::Timeout;
            self.plugin.handle(self.now, event);
            // a time that has come and is asked for again would keep a processor busy for good
            let next = self.plugin.poll_timeout();
            assert!(!is_timeout || next.is_none_or(|at| at > self.now), "{next:?} is over at {:?}", self.now);
            while let Some(action) = self.plugin.poll_action() {
                self.journal.push(Entry::action(self.now, action.clone()));
                self.actions.push(action.clone());
                self.perform(action);
            }
            if self.inbox.is_empty() && self.kubelet_tells {
                self.tell_figures();
            }
        }
    }

    /// The kubelet writes its Node, and the watch tells what it promises now.
    fn tell_figures(&mut self) {
        let view = self.plugin.view();
        let now: BTreeMap<String, u64> =
            view.resources.keys().map(|name| (name.to_string(), self.counts(name).1 as u64)).collect();
        if now != self.figures {
            self.figures.clone_from(&now);
            self.inbox.push_back(Event::FiguresRead { allocatable: now });
        }
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

    /// What the watch of the Node says.
    pub fn tell_node(&mut self) {
        if self.api_is_up {
            let note = self.annotations.get(NOTE).cloned();
            self.tell(Event::TaintsRead { taints: self.taints.clone(), note });
        }
        self.tell(if self.api_is_up {
            Event::NodeRead { labels: self.labels.clone() }
        } else {
            Event::NodeUnreadable { why: "node `gpu-2`: connection refused".into() }
        });
    }

    /// The pods of this Node change, and whoever watches them is told.
    pub fn set_pods(&mut self, pods: Vec<BoundPod>) {
        self.pods = pods;
        if let Some(attempt) = self.pods_watched {
            self.tell(Event::PodsRead { attempt, pods: self.pods.clone() });
        }
    }

    pub fn edit(&mut self, name: &str, text: &str) {
        self.files.insert(name.into(), text.into());
        self.tell(Event::ConfigRead { files: self.files.clone() });
    }

    pub fn set_config_label(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.labels.insert(CONFIG_LABEL.into(), value.into()),
            None => self.labels.remove(CONFIG_LABEL),
        };
        self.tell(Event::NodeRead { labels: self.labels.clone() });
    }

    /// A pod is admitted: the kubelet calls Allocate and lists it.
    pub fn admit(&mut self, pod: &str, resource: &ResourceName, ids: &[&str]) -> Result<(), String> {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let view = self.plugin.view();
        let answer = view.allocate(resource, &ids).map_err(|e| e.to_string());
        self.tell(Event::Allocated {
            resource: resource.clone(),
            ids: ids.clone(),
            view_generation: view.generation,
            refused: answer.as_ref().err().cloned(),
        });
        answer?;
        self.holdings.push(Holding {
            namespace: "default".into(),
            pod: pod.into(),
            container: "main".into(),
            resource: resource.to_string(),
            ids,
        });
        Ok(())
    }

    pub fn delete(&mut self, pod: &str) {
        self.holdings.retain(|h| h.pod != pod);
    }

    /// (devices, healthy ones) of a resource, as the kubelet would count them.
    pub fn counts(&self, resource: &ResourceName) -> (usize, usize) {
        let view = self.plugin.view();
        view.devices(resource).map_or((0, 0), |d| (d.len(), d.values().filter(|d| d.healthy).count()))
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(&format!("nvidia.com/{key}")).map(String::as_str)
    }

    pub fn states(&self) -> Vec<String> {
        self.plugin.view().status.gpus.iter().map(|g| g.state.clone()).collect()
    }

    fn perform(&mut self, action: Action) {
        let answer = match action {
            Action::FindGpus if self.silent => return,
            Action::FindGpus => match &self.facts {
                Some(facts) => Event::GpusFound { facts: facts.clone() },
                None => Event::NoDriver { why: "libnvidia-ml.so.1: no such file".into() },
            },
            Action::Listen { resource, endpoint, attempt } => {
                Event::Listening { resource, endpoint, attempt }
            }
            Action::Register { resource, attempt, .. } if self.refused.contains(&resource) => {
                let why = "the kubelet refused `Register`: Unknown: not now".into();
                Event::RegisterFailed { resource, attempt, why }
            }
            Action::Register { resource, attempt, .. } => Event::Registered { resource, attempt },
            Action::ReadHolders if !self.holders_readable => {
                let checkpoint = self.checkpoint.clone();
                Event::HoldersUnreadable { why: "connection refused".into(), checkpoint }
            }
            Action::ReadHolders => {
                Event::HoldersRead { holdings: self.holdings.clone(), checkpoint: self.checkpoint.clone() }
            }
            Action::WatchPods { attempt } => {
                self.pods_watched = Some(attempt);
                match self.api_is_up {
                    true => Event::PodsRead { attempt, pods: self.pods.clone() },
                    false => Event::PodsUnreadable { attempt, why: "connection refused".into() },
                }
            }
            Action::IgnorePods => return self.pods_watched = None,
            Action::ReadAllocatable { resources } => self.allocatable(&resources),
            Action::PatchLabels { labels } => {
                for (key, value) in labels {
                    match value {
                        Some(value) => self.labels.insert(key, value),
                        None => self.labels.remove(&key),
                    };
                }
                self.inbox.push_back(Event::LabelsPatched);
                self.follow_mps_label();
                Event::NodeRead { labels: self.labels.clone() }
            }
            Action::KeepLastGood { text } if self.state_is_writable => return self.state = Some(text),
            Action::KeepLastGood { .. } => {
                Event::LastGoodNotKept { why: "`/var/lib/tandem`: read-only file system".into() }
            }
            Action::KeepGpus { text } if self.state_is_writable => return self.kept_gpus = Some(text),
            Action::KeepGpus { .. } => {
                Event::KeptGpusFailed { why: "`/var/lib/tandem`: read-only file system".into() }
            }
            Action::PatchAnnotations { .. } if !self.api_is_up => {
                Event::AnnotationsFailed { why: "connection refused".into() }
            }
            Action::PatchAnnotations { annotations } => {
                for (key, value) in annotations {
                    match value {
                        Some(value) => self.annotations.insert(key, value),
                        None => self.annotations.remove(&key),
                    };
                }
                Event::AnnotationsPatched
            }
            Action::PatchTaints { .. } if self.taints_refused || !self.api_is_up => {
                Event::TaintsFailed { why: "connection refused".into() }
            }
            Action::PatchTaints { before, .. } if before != self.taints => {
                Event::TaintsFailed { why: "its taints have changed meanwhile".into() }
            }
            Action::PatchTaints { after, note, .. } => {
                self.taints = after;
                match note {
                    Some(note) => self.annotations.insert(NOTE.into(), note),
                    None => self.annotations.remove(NOTE),
                };
                Event::TaintsPatched
            }
            Action::WriteMpsDesired { desired } => {
                let daemons = desired.daemons.keys().map(|g| (g.clone(), DaemonStatus::Ready)).collect();
                self.desired = Some(desired.clone());
                self.actual = Some(Actual { generation: desired.generation, daemons });
                Event::MpsReported { supervisor_alive: self.supervisor_alive, actual: self.actual.clone() }
            }
            Action::FindDriverFiles { attempt, .. } => {
                Event::DriverFilesFound { attempt, found: self.found.clone() }
            }
            Action::WriteCdiSpecs { specs } => match &self.read_only {
                Some(why) => Event::CdiSpecsFailed { why: why.clone() },
                None => {
                    self.found.specs.extend(specs);
                    Event::CdiSpecsWritten
                }
            },
            Action::ReadProcesses { .. } if self.nvml_is_silent => return,
            Action::ReadProcesses { gpu } => {
                let none = || ProcessList::Read { processes: Vec::new() };
                let list = self.processes.get(&gpu).cloned().unwrap_or_else(none);
                Event::ProcessesRead { gpu, list }
            }
            Action::SetTimeSlice { gpu, interval } => match self.time_slices_fail.clone() {
                Some((why, unsupported)) => {
                    Event::TimeSliceFailed(SliceFailure { gpu, interval, why, unsupported })
                }
                None => {
                    self.time_slices.insert(gpu.clone(), interval);
                    Event::TimeSliceSet(SliceSet { gpu, interval })
                }
            },
            Action::Announce { reason, message, .. } => {
                return self.said.push(format!("{reason}: {message}"));
            }
            Action::Exit { code, why } => return self.exit = Some((code, why)),
            _ => return,
        };
        self.inbox.push_back(answer);
    }

    fn allocatable(&self, resources: &[ResourceName]) -> Event {
        let Some(others) = &self.allocatable else {
            return Event::AllocatableUnreadable { why: "Unimplemented".into(), unsupported: true };
        };
        let view = self.plugin.view();
        let devices = resources.iter().map(|resource| {
            let listed = view.devices(resource).unwrap_or_default();
            let healthy = || listed.values().filter(|d| d.healthy).map(|d| d.id.clone()).collect();
            let name = resource.to_string();
            (name.clone(), others.get(&name).cloned().unwrap_or_else(healthy))
        });
        Event::AllocatableRead { devices: devices.collect() }
    }

    /// The MPS supervisor's DaemonSet follows the label.
    fn follow_mps_label(&mut self) {
        let wanted = self.label("mps.capable") == Some("true");
        if wanted != self.supervisor_alive {
            self.supervisor_alive = wanted;
            let event = Event::MpsReported { supervisor_alive: wanted, actual: self.actual.clone() };
            self.inbox.push_back(event);
        }
    }
}

pub fn facts(gpus: u32) -> Facts {
    let gpu = |index| GpuFacts {
        uuid: GpuUuid::new(format!("GPU-{index}")),
        index,
        minor: index,
        name: "Tesla T4".into(),
        memory_bytes: 15_360 * 1024 * 1024,
        compute_capability: (7, 5),
        pci_bus_id: format!("00000000:00:{index:02X}.0"),
        numa_node: Some(index / 2),
        mig_capable: false,
        compute_mode: ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    };
    Facts {
        driver_version: "595.91.07".into(),
        cuda_version: (13, 2),
        gpus: (0..gpus).map(gpu).collect(),
        links: Vec::new(),
        control_nodes: Vec::new(),
        ..Facts::default()
    }
}

pub fn gpu() -> ResourceName {
    ResourceName::gpu()
}

pub fn shared() -> ResourceName {
    ResourceName::gpu().shared()
}

/// What the journal holds must give the same actions again.
pub fn assert_replays(node: &Node) {
    let text: Vec<String> = node.journal.iter().map(|e| e.to_line().unwrap()).collect();
    let entries = plugin_core::journal::parse(&text.join("\n")).unwrap();
    assert_eq!(entries, node.journal);
    assert!(replay(&entries).unwrap() > 0);
}
