//! From "a configuration is asked for" to "it is in force": waiting for facts, refusing, staging.

use std::sync::Arc;

use crate::action::Severity;
use crate::choose::{self, Applied, Choice, Parsed};
use crate::labels;
use crate::plugin::{ConfigSource, Driver, Plugin};
use crate::time::Time;
use crate::view::Strategy;

impl Plugin {
    pub(crate) fn retry_driver(&mut self) {
        if let Driver::Missing { why, failed: true, .. } = &self.driver
            && let Parsed::Good { effective, .. } = choose::parse(&self.settings, &self.sources)
            && effective.fail_on_init_error
        {
            let why = format!("{why} (with `failOnInitError: false` the plugin would wait instead)");
            return self.exit(1, why);
        }
        self.look_again();
    }

    pub(crate) fn choose_config(&mut self) {
        if self.node_deadline().is_some_and(|at| at <= self.now) {
            self.sources.node_silent = true;
            self.choice_is_stale = true;
            let message = "the Node has not been read yet (is the API server reachable?)";
            self.say_once("node", Severity::Warning, "NodeUnreadable", message.to_owned());
        }
        if !std::mem::take(&mut self.choice_is_stale) {
            return;
        }
        self.change.all = true;
        match choose::choose(&self.settings, &self.sources, self.facts(), &self.kept.gpus) {
            Choice::NotYet(what) => {
                self.refit();
                self.waiting_for = Some(what);
                if self.sources.node_silent && self.sources.labels.is_none() {
                    self.without_node();
                }
            }
            Choice::Refused { requested, problems } => {
                self.next = None;
                self.stage_last_good();
                let kept = match (&self.next, &self.applied) {
                    (Some(a), _) => format!("the last good one, `{}`, stands in", a.name),
                    (None, Some(a)) => format!("`{}` stays in force", a.name),
                    (None, None) => "nothing is served".to_owned(),
                };
                let message =
                    format!("configuration `{requested}` is refused, {kept}: {}", problems.join("; "));
                self.refit();
                self.say_once("config", Severity::Warning, "ConfigRefused", message);
                self.requested = Some(requested);
                self.problems = problems;
                self.waiting_for = Some("the requested configuration is refused");
            }
            Choice::Candidate { requested, applied } => self.adopt(requested, *applied),
        }
    }

    /// While what is asked for cannot hold, GPUs that are new get their role from what is in force.
    fn refit(&mut self) {
        let (Some(applied), None, Some(in_force)) = (&self.applied, &self.next, &self.last_goods.in_force)
        else {
            return;
        };
        if let Choice::Candidate { applied: fitted, .. } =
            in_force.choose(&self.settings, self.facts(), &self.kept.gpus)
            && fitted.roles != applied.roles
        {
            self.last_goods.staged = Some(in_force.clone());
            self.staged_at = Some(self.now);
            self.next = Some(Arc::new(*fitted));
        }
    }

    fn adopt(&mut self, requested: String, candidate: Applied) {
        self.waiting_for = None;
        self.requested = Some(requested);
        self.problems.clear();
        self.last_goods.stands_in = false;
        let with_text = self.with_text(&candidate.name);
        if self.applied.as_deref() == Some(&candidate) {
            self.next = None;
            return self.remember(with_text);
        }
        self.last_goods.staged = Some(with_text);
        if self.next.as_deref() == Some(&candidate) {
            return;
        }
        for warning in &candidate.warnings {
            let warning = warning.to_string();
            self.say_once(&warning, Severity::Warning, "ConfigWarning", warning.clone());
        }
        let message = format!("configuration `{}` is asked for", candidate.name);
        self.say_once("config", Severity::Info, "ConfigStaged", message);
        self.staged_at = Some(self.now);
        self.next = Some(Arc::new(candidate));
    }

    /// Nobody says which configuration is asked for. A default one could be the wrong one, so only the last good one will do.
    fn without_node(&mut self) {
        if self.stage_last_good() || self.applied.is_some() {
            return;
        }
        if self.last_goods.kept.is_none() {
            self.waiting_for =
                Some("the Node cannot be read, and there is no last good configuration to stand in");
            let message = "the Node cannot be read and there is no last good configuration: nothing is served until the \
                           Node says which one is asked for";
            self.say_once("config", Severity::Warning, "ConfigUnknown", message.to_owned());
        }
    }

    pub(crate) fn node_deadline(&self) -> Option<Time> {
        let waits = self.settings.node_name.is_some()
            && matches!(self.settings.config_source, ConfigSource::Directory { .. })
            && self.sources.labels.is_none()
            && !self.sources.node_silent;
        self.started_at.filter(|_| waits).map(|at| at + self.settings.timing.node_wait)
    }

    pub(crate) fn staged_deadline(&self) -> Option<Time> {
        self.next.as_ref()?;
        self.staged_at.map(|at| at + self.settings.timing.supervisor_wait).filter(|at| *at > self.now)
    }

    /// Whether a configuration has everything that can be prepared before GPUs change their roles.
    pub(crate) fn is_prepared(&self, next: &Applied) -> bool {
        self.specs_suffice(&next.effective) && self.has_supervisor(next)
    }

    fn has_supervisor(&self, next: &Applied) -> bool {
        let needs_mps = next.roles.values().any(|role| role.strategy == Strategy::Mps);
        !needs_mps || self.supervisor_alive || !self.desired.daemons.is_empty()
    }

    /// Staged → in force, as soon as everything that it needs is there.
    pub(crate) fn stage(&mut self) {
        let Some(next) = self.next.clone() else { return };
        if !self.specs_suffice(&next.effective) {
            self.waiting_for = Some("the CDI specs of its devices are not written yet");
            return;
        }
        if self.has_supervisor(&next) {
            if self.would_withdraw(&next) {
                if !self.may_withdraw() {
                    self.waiting_for = Some("pods that are bound to this node are waited for");
                    return;
                }
                if self.settings.node_name.is_none() {
                    let message = "without a node name pods that are bound to this node are not waited for, and may be refused \
                                   (hint: set --node-name or NODE_NAME)";
                    self.say_once("binds", Severity::Warning, "PodsNotAwaited", message.to_owned());
                }
            }
            let name = next.name.clone();
            self.applied = self.next.take();
            self.waiting_for = None;
            if let Some(in_force) = self.last_goods.staged.take() {
                self.remember(in_force);
            }
            self.change.all = true;
            self.staged_at = None;
            let message = format!("configuration `{name}` is in force");
            return self.say_once("config", Severity::Info, "ConfigApplied", message);
        }
        let waited = self.staged_at.is_some_and(|at| at + self.settings.timing.supervisor_wait <= self.now);
        if waited {
            let name = next.name.clone();
            let message = format!(
                "configuration `{name}` needs MPS, but no MPS supervisor runs on this node: is its DaemonSet deployed \
                 and scheduled by the label `{}=true`? The previous configuration stays in force",
                labels::MPS_CAPABLE
            );
            self.say_once("supervisor", Severity::Warning, "MpsSupervisorMissing", message);
        }
    }
}
