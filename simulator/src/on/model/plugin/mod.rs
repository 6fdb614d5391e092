//! The plugin's process in the model: plugin-core inside a shell that orders events, answers and effects exactly as the
//! production shell does, with every effect as a happening of its own.
//!
//! Production's counterpart in brackets: [`loops`] takes events (`run`), [`perform`] starts effects (`perform`),
//! [`serve`] answers the kubelet (`serve`, `list_stream`), [`looks`] looks at the GPUs (`gpu_watch`), [`sources`] watches files and the Node (`kubelet_watch`,
//! `config_dir`, `mps_files`, `node_watch`), [`pods`] the pods on it (`pod_watch`), [`processes`] asks for those on its GPUs
//! (`gpu::processes`).

mod looks;
mod loops;
mod perform;
mod pods;
mod processes;
mod serve;
mod sources;
mod time_slices;

pub(super) use serve::broken;
pub(super) use sources::patch_arrives;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plugin_core::action::Severity;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::mps::Desired;
use plugin_core::plugin::Plugin;
use plugin_core::settings::Settings;
use plugin_core::view::View;

use self::looks::Looks;
use self::pods::PodWatch;
use self::processes::ProcessCalls;
use self::serve::Server;
use self::sources::NodeWatch;
use super::engine::Context;
use super::happening::What;
use super::host::Host;
use super::journal::Journal;
use super::latency;
use super::library::Library;
use super::saboteur::Saboteur;

/// Warnings that are kept; the log of a real process is read from its end.
const WARNINGS_MAX: usize = 200;

/// Why the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    /// The exit status.
    pub(super) code: u8,
    /// The line that says why.
    pub(super) why: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shell {
    /// Which of the plugin's processes on this node this is.
    pub(super) life: u32,
    began: u64,
    core: Plugin,
    /// What handlers answer from.
    view: Arc<View>,
    queue: VecDeque<Event>,
    awake: bool,
    armed: Option<u64>,
    servers: BTreeMap<u32, Server>,
    by_resource: BTreeMap<ResourceName, u32>,
    servers_made: u32,
    kubelet_seen: Option<u64>,
    report_told: Option<Event>,
    report_looks: bool,
    config_told: Option<Event>,
    node: NodeWatch,
    pods: PodWatch,
    desired: Option<Desired>,
    /// The newest state file, on its way to the disk.
    last_good: Option<String>,
    /// The newest state file with what is known of the GPUs, on its way to the disk.
    kept_gpus: Option<String>,
    nvml: Library,
    looks: Looks,
    processes: ProcessCalls,
    /// Longest time between two looks at the GPUs, in nanoseconds.
    gpu_look: u64,
    /// How long a look may take, in nanoseconds.
    driver_patience: u64,
    saboteur: Option<Saboteur>,
    pub(super) warnings: Vec<String>,
    pub(super) journal: Journal,
}

impl Shell {
    /// The process starts, and with it every source of events.
    pub(super) fn start(
        cx: &mut Context<'_>,
        host: &mut Host,
        life: u32,
        settings: &Settings,
        journal: Journal,
    ) -> Shell {
        host.remove_dead_sockets();
        let mut shell = Shell {
            life,
            began: cx.now(),
            core: Plugin::new(),
            view: Arc::new(View::default()),
            queue: VecDeque::new(),
            awake: false,
            armed: None,
            servers: BTreeMap::new(),
            by_resource: BTreeMap::new(),
            servers_made: 0,
            kubelet_seen: None,
            report_told: None,
            report_looks: false,
            config_told: None,
            node: NodeWatch::default(),
            pods: PodWatch::default(),
            desired: None,
            last_good: None,
            kept_gpus: None,
            nvml: Library::default(),
            looks: Looks::default(),
            processes: ProcessCalls::default(),
            gpu_look: nanos(settings.timing.gpu_look),
            driver_patience: nanos(settings.timing.driver_patience),
            saboteur: host.sabotage.map(Saboteur::new),
            warnings: Vec::new(),
            journal,
        };
        shell.post(
            cx,
            Event::Started { settings: Box::new(settings.clone()), mps_desired: host.mps.desired.clone() },
        );
        shell.post(cx, Event::KeptGpusRead { text: host.kept_gpus.clone() });
        shell.post(cx, Event::LastGoodRead { text: host.last_good.clone() });
        cx.at(cx.now() + shell.gpu_look, What::GpusDue(life));
        cx.after(latency::TASK, What::KubeletDirectoryChanged(life));
        cx.after(latency::TASK, What::ConfigLooked(life, false));
        cx.after(latency::TASK, What::MpsReportLooked(life));
        cx.ask_api(What::NodeListed(life));
        shell
    }

    /// The published view.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Adds an event to the loop's queue.
    pub(super) fn post(&mut self, cx: &mut Context<'_>, event: Event) {
        let heard = match &self.saboteur {
            None => Some(event),
            Some(saboteur) => saboteur.hears(event),
        };
        let Some(event) = heard else { return };
        self.queue.push_back(event);
        if !std::mem::replace(&mut self.awake, true) {
            cx.after(latency::LOOP, What::PluginWakes(self.life));
        }
    }

    fn warn(&mut self, severity: Severity, message: String) {
        if severity == Severity::Warning && self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(message);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
