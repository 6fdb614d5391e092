//! Takes an event into the plugin's state. What follows from it is decided in `advance`, from the whole state.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{Action, Severity};
use crate::config::ResourceName;
use crate::event::{Checkpoint, Event, Holding};
use crate::mps::Desired;
use crate::plugin::{Plugin, Settings};
use crate::registration::Input;
use crate::settings::ConfigSource;

/// How long a wish for MPS daemons that could not be written waits for the next try.
const DESIRED_RETRY: Duration = Duration::from_secs(5);

impl Plugin {
    pub(crate) fn absorb(&mut self, event: Event) {
        self.change.all |= changes_all(&event);
        match event {
            Event::Started { settings, mps_desired } => self.start(*settings, mps_desired),
            Event::Timeout => {}
            Event::ReloadRequested => self.reload(),
            Event::StopRequested => self.stopping = true,
            Event::GpusFound { facts } => self.gpus_found(facts),
            Event::NoDriver { why } => self.driver_missing(why, false),
            Event::DriverFailed { why } => self.driver_missing(why, true),
            Event::PlatformUnsupported { platform, why } => self.platform_unsupported(&platform, &why),
            Event::DriverStuck { call, gpu, waited_s } => self.driver_stuck(&call, gpu.as_ref(), waited_s),
            Event::LastGoodRead { text } => self.last_good_read(text.as_deref()),
            Event::LastGoodUnreadable { why } => self.last_good_ignored(&why),
            Event::LastGoodNotKept { why } => self.last_good_not_kept(&why),
            Event::KeptGpusRead { text } => self.kept_gpus_read(text.as_deref()),
            Event::KeptGpusUnreadable { why } => self.kept_gpus_ignored(&why),
            Event::KeptGpusFailed { why } => self.kept_gpus_failed(&why),
            Event::ConfigRead { files } => self.files_read(Ok(files)),
            Event::ConfigUnreadable { why } => self.files_read(Err(why)),
            Event::NodeRead { labels } => self.labels_read(labels),
            Event::TaintsRead { taints, note } => self.taints_read(taints, note.as_deref()),
            Event::TaintsPatched => self.taints_patched(),
            Event::TaintsFailed { why } => self.taints_failed(&why),
            Event::NodeUnreadable { why } => self.node_unreadable(why),
            Event::LabelsPatched => self.labels_patched(),
            Event::LabelsFailed { why } => self.labels_failed(why),
            Event::AnnotationsPatched => self.annotations_patched(),
            Event::AnnotationsFailed { why } => self.annotations_failed(&why),
            Event::KubeletAppeared { age_ms, has_checkpoint: has } => self.kubelet_appeared(age_ms, has),
            Event::KubeletGone => self.kubelet_gone(),
            Event::Listening { resource, attempt, .. } => self.socket(&resource, attempt, Input::Listening),
            Event::ListenFailed { resource, attempt, why } => {
                self.not_served(&resource, attempt, Input::ListenFailed, "SocketFailed", why);
            }
            Event::Registered { resource, attempt } => self.registered(&resource, attempt),
            Event::RegisterFailed { resource, attempt, why } => {
                let message = format!("the kubelet did not take `{resource}`: {why}; trying again");
                self.not_served(&resource, attempt, Input::RegisterFailed, "RegistrationFailed", message);
            }
            Event::StreamOpened { resource } => self.stream_opened(resource),
            Event::StreamClosed { resource, attempt } => self.stream_closed(&resource, attempt),
            Event::Allocated { resource, ids, refused, .. } => {
                if refused.is_none() {
                    self.allocated(&resource, &ids);
                }
            }
            Event::HoldersRead { holdings, checkpoint } => self.holders_read(holdings, checkpoint),
            Event::FiguresRead { allocatable } => self.figures_read(allocatable),
            Event::PodsRead { attempt, pods } => self.pods_read(attempt, pods),
            Event::PodsUnreadable { attempt, why } => self.pods_unreadable(attempt, &why),
            Event::HoldersUnreadable { why, checkpoint } => self.holders_unreadable(why, checkpoint),
            Event::AllocatableRead { devices } => self.allocatable_read(&devices),
            Event::AllocatableUnreadable { why, unsupported } => {
                self.allocatable_unreadable(&why, unsupported);
            }
            Event::MpsReported { supervisor_alive, actual } => {
                self.supervisor_alive = supervisor_alive;
                self.actual = actual;
                self.note_ill_daemons();
            }
            Event::MpsDesiredFailed { why } => self.desired_failed(&why),
            Event::DriverFilesFound { attempt, found } => self.driver_files_found(attempt, found),
            Event::CdiSpecsWritten => self.specs_written(),
            Event::CdiSpecsFailed { why } => self.specs_failed(&why),
            Event::ProcessesRead { gpu, list } => self.processes_read(&gpu, list),
            Event::TimeSliceSet(set) => self.time_slice_set(&set),
            Event::TimeSliceFailed(failure) => self.time_slice_failed(failure),
        }
    }

    fn registered(&mut self, resource: &ResourceName, attempt: u64) {
        self.said.remove(resource.as_str());
        self.socket(resource, attempt, Input::Registered);
        self.look_after(resource);
    }

    fn stream_opened(&mut self, resource: ResourceName) {
        self.streamed.insert(resource);
    }

    fn stream_closed(&mut self, resource: &ResourceName, attempt: u64) {
        self.socket(resource, attempt, Input::StreamClosed);
        self.tell_losses(resource);
    }

    fn allocated(&mut self, resource: &ResourceName, ids: &[String]) {
        let patience = self.settings.timing.hint_absence;
        let touched = self.ownership.allocated(self.now, resource.as_str(), ids, patience);
        self.change.holders.extend(touched);
    }

    fn holders_read(&mut self, holdings: Vec<Holding>, checkpoint: Checkpoint) {
        // the first answer after none can settle a GPU, which `advance` notices by itself
        self.said.remove("holders");
        self.kubelet_start.read();
        self.checkpoint.read(self.now, checkpoint, &holdings);
        self.checkpoint.follow(&self.pods);
        self.tell_checkpoint();
        let holdings = self.ownership.of_living(holdings, &self.pods);
        let asked = self.ownership.answered();
        let proven = asked.filter(|asked| self.kubelet_start.proves(*asked));
        let alone = self.checkpoint.alone(self.now, &self.pods);
        let touched = self.ownership.read_with(self.now, proven, &holdings, &alone);
        self.change.holders.extend(touched);
    }

    fn desired_failed(&mut self, why: &str) {
        self.desired_retry_at = Some(self.now + DESIRED_RETRY);
        let message = format!("{why}; trying again (is the disk full?)");
        self.say_once("desired", Severity::Warning, "MpsDesiredNotWritten", message);
    }

    fn not_served(
        &mut self,
        resource: &ResourceName,
        attempt: u64,
        input: Input,
        reason: &str,
        message: String,
    ) {
        if self.registrations.get(resource).is_some_and(|r| r.attempt() == attempt) {
            self.say_once(resource.as_str(), Severity::Warning, reason, message);
        }
        self.socket(resource, attempt, input);
    }

    fn files_read(&mut self, files: Result<BTreeMap<String, String>, String>) {
        self.choice_is_stale = true;
        self.sources.files = Some(files);
    }

    fn labels_read(&mut self, labels: BTreeMap<String, String>) {
        let key = self.settings.label_key();
        let before = self.sources.labels.as_ref().map(|l| l.get(key));
        self.choice_is_stale |= before != Some(labels.get(key));
        self.sources.labels = Some(labels);
        self.label_patch.told_since = true;
        self.sources.node_silent = false;
        self.node_told(true);
    }

    fn reload(&mut self) {
        // a driver that was loaded anew between two looks is not noticed otherwise
        self.time_slices.forget(|_| true);
        self.act(Action::ReadConfig);
        self.act(Action::FindGpus);
    }

    fn node_unreadable(&mut self, why: String) {
        self.choice_is_stale |= self.sources.labels.is_none();
        self.sources.node_silent = true;
        self.node_told(false);
        self.say_once("node", Severity::Warning, "NodeUnreadable", why);
    }

    fn start(&mut self, settings: Settings, mps_desired: Option<Desired>) {
        self.settings = settings;
        self.started_at = Some(self.now);
        self.wish_lost = mps_desired.is_none();
        self.desired = mps_desired.unwrap_or_default();
        if self.settings.node_name.is_none()
            && matches!(self.settings.config_source, ConfigSource::Directory { .. })
        {
            let message = "no node name is set: no label chooses a configuration, and nothing is written to the Node \
                           (hint: set NODE_NAME from the pod's field `spec.nodeName`)";
            self.say_once("node_name", Severity::Warning, "NoNodeName", message.to_owned());
        }
        self.act(Action::FindGpus);
        self.read_holders();
    }

    fn holders_unreadable(&mut self, why: String, checkpoint: Checkpoint) {
        self.ownership.unread(why.clone());
        self.kubelet_start.unread(self.now);
        self.checkpoint.read(self.now, checkpoint, &[]);
        self.checkpoint.follow(&self.pods);
        self.tell_checkpoint();
        let touched = self.ownership.believe(&self.checkpoint.alone(self.now, &self.pods));
        self.change.holders.extend(touched);
        let message = format!(
            "who holds which GPU cannot be read from the kubelet: {why}; GPUs keep their roles until it can (is the \
             pod-resources directory mounted?)"
        );
        self.say_once("holders", Severity::Warning, "HoldersUnreadable", message);
    }

    fn labels_patched(&mut self) {
        self.said.remove("labels");
        let mut unknown = BTreeMap::new();
        let labels = self.sources.labels.as_mut().unwrap_or(&mut unknown);
        self.label_patch.written(self.now, labels);
    }

    fn labels_failed(&mut self, why: String) {
        self.label_patch.sent = None;
        self.label_patch.retry_at = Some(self.now + self.label_patch.backoff.next_delay());
        let message = format!("the Node's labels could not be written: {why}; trying again");
        self.say_once("labels", Severity::Warning, "LabelsNotWritten", message);
    }
}

/// Whether anything at all may be different after it; what the others change is noted where they are taken in.
fn changes_all(event: &Event) -> bool {
    !matches!(
        event,
        Event::Timeout
            | Event::StreamOpened { .. }
            | Event::Allocated { .. }
            | Event::HoldersRead { .. }
            | Event::PodsRead { .. }
            | Event::PodsUnreadable { .. }
            | Event::FiguresRead { .. }
            | Event::AllocatableRead { .. }
            | Event::AllocatableUnreadable { .. }
    )
}
