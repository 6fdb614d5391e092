//! The two deciders behind one interface, because both write journals and both can be asked to decide again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use plugin_core::action::Action;
use plugin_core::event::Event;
use plugin_core::mps::{Supervisor, SupervisorAction, SupervisorEvent};
use plugin_core::plugin::Plugin;
use plugin_core::time::Time;
use plugin_core::view::{GpuStatus, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tell;

/// How many views are kept to answer an Allocate again: a handler's view is at most this many changes old.
const VIEWS_KEPT_MAX: usize = 64;

/// An answer that the decider would not give now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherAnswer {
    /// What the journal says.
    pub recorded: String,
    /// What this program says.
    pub replayed: String,
}

/// Something that takes events and asks for actions.
pub trait Machine {
    /// For people.
    const NAME: &'static str;
    /// What can happen to it.
    type Event: Serialize + DeserializeOwned;
    /// What it asks for.
    type Action: Serialize + DeserializeOwned + PartialEq;

    /// One that waits for its start.
    fn begin() -> Self;
    /// Takes an event; tells when a recorded answer is not the one that it would give.
    fn handle(&mut self, now: Time, event: Self::Event) -> Option<OtherAnswer>;
    /// The next thing to do.
    fn next_action(&mut self) -> Option<Self::Action>;
    /// What changed since the last call, one sentence each.
    fn changes(&mut self) -> Vec<String>;
    /// An event in one line.
    fn tell_event(event: &Self::Event) -> String;
    /// An action in one line.
    fn tell_action(action: &Self::Action) -> String;
}

/// The plugin and the views that its handlers may still answer from.
pub struct PluginMachine {
    plugin: Plugin,
    views: VecDeque<Arc<View>>,
    told: BTreeMap<String, String>,
}

impl PluginMachine {
    /// What handlers answer from now.
    pub fn view(&self) -> Arc<View> {
        self.plugin.view()
    }

    fn answer_again(&self, event: &Event) -> Option<OtherAnswer> {
        let Event::Allocated { resource, ids, view_generation, refused } = event else {
            return None;
        };
        let newest = self.plugin.view().generation;
        if *view_generation > newest {
            return Some(OtherAnswer {
                recorded: format!("answered from view {view_generation}"),
                replayed: format!("the newest view is {newest}"),
            });
        }
        let view = self.views.iter().find(|v| v.generation == *view_generation)?;
        let again = view.allocate(resource, ids).err().map(|error| error.to_string());
        (again != *refused).then(|| OtherAnswer {
            recorded: tell::answer(refused.as_deref()),
            replayed: tell::answer(again.as_deref()),
        })
    }
}

impl Machine for PluginMachine {
    const NAME: &'static str = "plugin";
    type Event = Event;
    type Action = Action;

    fn begin() -> Self {
        let plugin = Plugin::new();
        let views = VecDeque::from([plugin.view()]);
        PluginMachine { plugin, views, told: BTreeMap::new() }
    }

    fn handle(&mut self, now: Time, event: Event) -> Option<OtherAnswer> {
        let other = self.answer_again(&event);
        self.plugin.handle(now, event);
        let view = self.plugin.view();
        if self.views.back().is_none_or(|last| last.generation != view.generation) {
            if self.views.len() >= VIEWS_KEPT_MAX {
                self.views.pop_front();
            }
            self.views.push_back(view);
        }
        other
    }

    fn next_action(&mut self) -> Option<Action> {
        self.plugin.poll_action()
    }

    fn changes(&mut self) -> Vec<String> {
        let view = self.plugin.view();
        let mut now: BTreeMap<String, String> = BTreeMap::new();
        for gpu in &view.status.gpus {
            now.insert(format!("GPU {}", gpu.index), gpu_state(gpu));
        }
        for (name, resource) in &view.status.resources {
            let text = format!(
                "{} devices, {} healthy, {}",
                resource.devices, resource.healthy, resource.registration
            );
            now.insert(name.clone(), text);
        }
        let gone = self.told.keys().filter(|key| !now.contains_key(*key));
        let mut changes: Vec<String> = gone.map(|key| format!("{key} is gone")).collect();
        for (key, text) in &now {
            if self.told.get(key) != Some(text) {
                changes.push(format!("{key} is now {text}"));
            }
        }
        self.told = now;
        changes
    }

    fn tell_event(event: &Event) -> String {
        tell::event(event)
    }

    fn tell_action(action: &Action) -> String {
        tell::action(action)
    }
}

/// The state of a GPU, as in `draining from nvidia.com/gpu`.
pub fn gpu_state(gpu: &GpuStatus) -> String {
    let role = gpu.resource.as_deref().unwrap_or("no resource");
    match gpu.state.as_str() {
        "settled" => format!("settled as {role}"),
        "draining" => format!("draining from {role}"),
        "converting" => format!("converting to {}", gpu.next_resource.as_deref().unwrap_or("its new role")),
        "found" => "found, not offered yet".to_owned(),
        other => format!("{other} as {role}"),
    }
}

impl Machine for Supervisor {
    const NAME: &'static str = "MPS supervisor";
    type Event = SupervisorEvent;
    type Action = SupervisorAction;

    fn begin() -> Self {
        Supervisor::new()
    }

    fn handle(&mut self, now: Time, event: SupervisorEvent) -> Option<OtherAnswer> {
        Supervisor::handle(self, now, event);
        None
    }

    fn next_action(&mut self) -> Option<SupervisorAction> {
        self.poll_action()
    }

    fn changes(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn tell_event(event: &SupervisorEvent) -> String {
        tell::plainly(event, "event")
    }

    fn tell_action(action: &SupervisorAction) -> String {
        tell::plainly(action, "action")
    }
}
