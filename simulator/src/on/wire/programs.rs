//! The child processes of all nodes, because the DaemonSet controller starts and stops them, steps kill and restart
//! them, and every look asks how they are: this is the one shared place of that state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::process::{Ended, Launch, Process};

/// The most deaths that are remembered until they are told.
const DEATHS_MAX: usize = 100;

/// `tandem-device-plugin run`, by name.
pub(super) const PLUGIN: &str = "plugin";
/// `tandem-device-plugin mps`, by name.
pub(super) const MPS: &str = "mps";

/// Which program on which node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The node.
    pub(super) node: String,
    /// [`PLUGIN`] or [`MPS`].
    pub(super) program: &'static str,
}

#[derive(Debug, Default)]
struct Entry {
    process: Option<Process>,
    /// How it was started last.
    launch: Option<Launch>,
    starts: u64,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Name, Entry>,
    deaths: Vec<String>,
    finished: bool,
}

/// All programs; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs {
    state: Arc<Mutex<State>>,
}

impl Programs {
    /// Starts a program unless it runs already.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn start(&self, name: &Name, launch: &Launch) -> std::io::Result<()> {
        let mut state = self.lock();
        if state.finished {
            return Ok(());
        }
        note_deaths(&mut state);
        let entry = state.entries.entry(name.clone()).or_default();
        if entry.process.is_none() {
            entry.process = Some(Process::start(launch)?);
            entry.launch = Some(launch.clone());
            entry.starts += 1;
        }
        Ok(())
    }

    /// Stops a program if it runs. A plugin that had to be killed is remembered as something that went wrong.
    pub(super) async fn stop(&self, name: &Name) -> Option<Ended> {
        let mut process = self.take(name)?;
        let ended = process.stop().await;
        if ended == Ended::Killed && name.program == PLUGIN {
            self.complain(format!("`{}` on node `{}` did not end on SIGTERM", name.program, name.node));
        }
        Some(ended)
    }

    /// The process of a program that runs.
    pub(super) fn pid(&self, name: &Name) -> Option<u32> {
        self.lock().entries.get(name)?.process.as_ref().map(Process::pid)
    }

    /// How a program was started last.
    pub(super) fn launched(&self, name: &Name) -> Option<Launch> {
        self.lock().entries.get(name)?.launch.clone()
    }

    /// Kills a program if it runs.
    pub(super) async fn kill(&self, name: &Name) -> bool {
        match self.take(name) {
            Some(mut process) => {
                process.kill().await;
                true
            }
            None => false,
        }
    }

    /// Kills the process that a program has for its work; the program starts another.
    pub(super) fn kill_worker(&self, name: &Name, argument: &str) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(name) else { return false };
        let hit = entry.process.as_ref().is_some_and(|process| process.kill_child(argument));
        entry.starts += u64::from(hit);
        hit
    }

    /// Whether the program lives, and how often it was started.
    pub(super) fn status(&self, name: &Name) -> (bool, u64) {
        let mut state = self.lock();
        note_deaths(&mut state);
        state.entries.get(name).map_or((false, 0), |entry| (entry.process.is_some(), entry.starts))
    }

    /// Programs that ended unasked since the last call, one sentence each.
    pub(super) fn deaths(&self) -> Vec<String> {
        let mut state = self.lock();
        note_deaths(&mut state);
        std::mem::take(&mut state.deaths)
    }

    /// Remembers something that went wrong with a program, to be told with the deaths.
    pub(super) fn complain(&self, sentence: String) {
        let mut state = self.lock();
        if state.deaths.len() < DEATHS_MAX {
            state.deaths.push(sentence);
        }
    }

    /// Lets nothing be started any more.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
    }

    fn take(&self, name: &Name) -> Option<Process> {
        let mut state = self.lock();
        note_deaths(&mut state);
        state.entries.get_mut(name)?.process.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note_deaths(state: &mut State) {
    for (name, entry) in &mut state.entries {
        let Some(status) = entry.process.as_mut().and_then(Process::ended) else {
            continue;
        };
        entry.process = None;
        if state.deaths.len() < DEATHS_MAX {
            let Name { node, program } = name;
            state.deaths.push(format!(
                "`{program}` on node `{node}` ended unasked with {status} (hint: see {node}/{program}.log)"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(dir: &std::path::Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())]),
            log: dir.join("log"),
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_unasked_is_told_by_name_once() {
        let dir = tempfile::tempdir().unwrap();
        let programs = Programs::default();
        let name = Name { node: "gpu-1".into(), program: "plugin" };
        programs.start(&name, &shell(dir.path(), "exit 3")).unwrap();
        for _ in 0..500 {
            if !programs.status(&name).0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let deaths = programs.deaths();
        assert_eq!(deaths.len(), 1);
        assert!(deaths[0].contains("`plugin` on node `gpu-1`") && deaths[0].contains('3'), "{deaths:?}");
        assert!(programs.deaths().is_empty());
    }

    #[tokio::test]
    async fn a_program_that_is_stopped_or_killed_is_no_death() {
        let dir = tempfile::tempdir().unwrap();
        let programs = Programs::default();
        let name = Name { node: "n".into(), program: "mps" };
        let launch = shell(dir.path(), "exec sleep 60");
        programs.start(&name, &launch).unwrap();
        programs.start(&name, &launch).unwrap();
        assert_eq!(programs.status(&name), (true, 1));
        assert!(programs.stop(&name).await.is_some());
        programs.start(&name, &launch).unwrap();
        assert!(programs.kill(&name).await);
        assert_eq!(programs.status(&name), (false, 2));
        assert_eq!(programs.deaths(), Vec::<String>::new());
        programs.finish();
        programs.start(&name, &launch).unwrap();
        assert_eq!(programs.status(&name), (false, 2), "nothing starts after the end");
    }
}
