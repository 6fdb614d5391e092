//! The processes of device plugins that are not ours, on one node.

use std::collections::BTreeMap;

use super::binaries::Binaries;
use super::launch;
use super::layout::NodeLayout;
use super::process::{Ended, Launch, Process};
use super::refused;
use crate::on::{Done, StageError};
use crate::scenario::{NodeSpec, OtherAct};
use crate::world::OtherPluginView;

#[derive(Debug)]
struct Other {
    launch: Launch,
    process: Option<Process>,
    starts: u64,
}

/// Device plugins that are not ours, by name.
#[derive(Debug, Default)]
pub(super) struct OtherPlugins {
    node: String,
    by_name: BTreeMap<String, Other>,
}

impl OtherPlugins {
    /// Starts those that run from the beginning.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) fn start(
        spec: &NodeSpec,
        binaries: &Binaries,
        layout: &NodeLayout,
    ) -> Result<OtherPlugins, StageError> {
        let mut plugins = OtherPlugins { node: spec.name.clone(), ..OtherPlugins::default() };
        for other in &spec.other_plugins {
            let launch = launch::other_plugin(binaries, layout, other);
            let mut entry = Other { launch, process: None, starts: 0 };
            if other.starts {
                entry.start(&plugins.node, &other.name)?;
            }
            plugins.by_name.insert(other.name.clone(), entry);
        }
        Ok(plugins)
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        !self.by_name.is_empty()
    }

    /// Does what a step says.
    ///
    /// # Errors
    /// It runs, or does not, or cannot be started.
    pub(super) async fn act(&mut self, name: &str, act: OtherAct) -> Result<Done, StageError> {
        let what = || format!("{act} plugin `{name}` on node `{}`", self.node);
        let other = self.by_name.get_mut(name).ok_or_else(|| refused(what(), &"there is none"))?;
        let runs = other.is_running();
        let (is_in_order, why) = match act {
            OtherAct::Start => (!runs, "it runs"),
            _ => (runs, "it does not run"),
        };
        if !is_in_order {
            return Err(refused(what(), &why));
        }
        match act {
            OtherAct::Start => {}
            OtherAct::Stop | OtherAct::Restart => {
                if let Some(Ended::Killed) = other.stop().await {
                    return Err(refused(what(), &"it did not end on SIGTERM"));
                }
            }
            OtherAct::Kill => {
                if let Some(mut process) = other.process.take() {
                    process.kill().await;
                }
            }
            OtherAct::HangUp => {
                if let Some(process) = &other.process {
                    process.hang_up();
                }
            }
        }
        if matches!(act, OtherAct::Start | OtherAct::Restart) {
            other.start(&self.node, name)?;
        }
        Ok(Done::Did)
    }

    /// What can be seen of them.
    pub(super) fn view(&mut self) -> BTreeMap<String, OtherPluginView> {
        let views = self.by_name.iter_mut().map(|(name, other)| {
            (name.clone(), OtherPluginView { running: other.is_running(), starts: other.starts })
        });
        views.collect()
    }

    /// Stops all of them.
    pub(super) async fn stop(&mut self) {
        for other in self.by_name.values_mut() {
            // one that does not end in order is killed: it is not the one that is tried
            let _ended = other.stop().await;
        }
    }
}

impl Other {
    fn start(&mut self, node: &str, name: &str) -> Result<(), StageError> {
        let started = Process::start(&self.launch);
        let (process, node) = (name.to_owned(), node.to_owned());
        self.process = Some(started.map_err(|error| StageError::Spawn { process, node, error })?);
        self.starts += 1;
        Ok(())
    }

    fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    async fn stop(&mut self) -> Option<Ended> {
        let mut process = self.process.take()?;
        Some(process.stop().await)
    }
}
