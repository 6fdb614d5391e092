//! A plugin whose journal is written line by line, because tests of readers need journals that are true.

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};
use plugin_core::journal::Entry;
use plugin_core::plugin::{ConfigSource, Plugin, Settings};
use plugin_core::time::Time;

/// The plugin, its clock and its journal.
pub(crate) struct RecordedNode {
    pub(crate) plugin: Plugin,
    now: Time,
    /// The journal.
    pub(crate) lines: Vec<String>,
    /// The newest `Listen`.
    pub(crate) listen: Option<(ResourceName, String, u64)>,
}

impl RecordedNode {
    pub(crate) fn new() -> Self {
        RecordedNode { plugin: Plugin::new(), now: Time::START, lines: vec![], listen: None }
    }

    /// A new process that goes on with the journal; it finds the kubelet and two GPUs.
    pub(crate) fn start(&mut self, config_source: ConfigSource) {
        (self.plugin, self.now) = (Plugin::new(), Time::START);
        let settings = Settings { config_source, ..Settings::default() };
        self.tell(Event::Started { settings: Box::new(settings), mps_desired: None });
        self.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
        self.tell(Event::GpusFound { facts: facts() });
    }

    /// An event, 10 ms after the one before.
    pub(crate) fn tell(&mut self, event: Event) {
        self.now = self.now + Duration::from_millis(10);
        self.lines.push(Entry::event(self.now, event.clone()).to_line().unwrap());
        self.plugin.handle(self.now, event);
        while let Some(action) = self.plugin.poll_action() {
            if let Action::Listen { resource, endpoint, attempt } = &action {
                self.listen = Some((resource.clone(), endpoint.clone(), *attempt));
            }
            self.lines.push(Entry::action(self.now, action).to_line().unwrap());
        }
    }

    /// An Allocate, answered from the newest view; the answer is why not.
    pub(crate) fn allocate(&mut self, resource: ResourceName, ids: &[&str]) -> Option<String> {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let view = self.plugin.view();
        let refused = view.allocate(&resource, &ids).err().map(|error| error.to_string());
        self.tell(Event::Allocated {
            resource,
            ids,
            view_generation: view.generation,
            refused: refused.clone(),
        });
        refused
    }
}

fn facts() -> Facts {
    let gpu = |index: u32| GpuFacts {
        uuid: GpuUuid::new(format!("GPU-{index}")),
        index,
        minor: index,
        name: "Tesla T4".into(),
        memory_bytes: 15_360 << 20,
        compute_capability: (7, 5),
        pci_bus_id: format!("00000000:00:{index:02X}.0"),
        numa_node: None,
        mig_capable: false,
        compute_mode: ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    };
    Facts {
        driver_version: "595.91.07".into(),
        cuda_version: (13, 2),
        gpus: vec![gpu(0), gpu(1)],
        links: Vec::new(),
        control_nodes: vec![],
        ..Facts::default()
    }
}
