//! What a run leaves: the journals of every process, and what should not be there any more.

use std::fmt::Write as _;
use std::path::Path;

use fake_gpu::is_uninvited;
use plugin_core::journal::Entry;

use super::ModelStage;
use super::happening::Which;
use super::journal::Journal;
use super::node::Node;
use crate::on::StageError;

impl ModelStage {
    /// All journals as one text: the bytes that two runs with one seed must share.
    pub fn journals(&self) -> String {
        let mut text = String::new();
        for node in &self.cluster.nodes {
            for (name, journal) in node.all_journals() {
                // writing to a String cannot fail
                let _ = writeln!(text, "# {}/{name}", node.name);
                text.push_str(&journal.text());
            }
        }
        text
    }

    /// The journal of every plugin process, by node, in the order of their lives; each replays.
    pub fn plugin_journals(&self) -> Vec<(&str, &[Entry])> {
        let mut all = Vec::new();
        for node in &self.cluster.nodes {
            let buried = node.journals.iter().filter(|(which, _)| *which == Which::Plugin);
            all.extend(buried.map(|(_, journal)| (node.name.as_str(), journal.entries())));
            let living = node.plugin.process.iter();
            all.extend(living.map(|shell| (node.name.as_str(), shell.journal.entries())));
        }
        all
    }

    /// Writes the journals as the production programs do: `<node>/journal/journal.jsonl`, earlier lives numbered.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_journals(&self, run_dir: &Path) -> Result<(), StageError> {
        for node in &self.cluster.nodes {
            let directory = run_dir.join(&node.name).join("journal");
            for (name, journal) in node.all_journals() {
                let path = directory.join(name);
                let parent = path.parent().unwrap_or(&directory).to_owned();
                let failed = |what, path: &Path| {
                    let path = path.to_owned();
                    move |error| StageError::File { what, path, error }
                };
                std::fs::create_dir_all(&parent).map_err(failed("create directory", &parent))?;
                std::fs::write(&path, journal.text()).map_err(failed("write", &path))?;
            }
        }
        Ok(())
    }
}

impl Node {
    /// Every journal with its file name, the newest life of each program last.
    fn all_journals(&self) -> Vec<(String, &Journal)> {
        let mut all = Vec::new();
        for (which, base) in [(Which::Plugin, "journal"), (Which::Mps, "mps/mps")] {
            let buried = self.journals.iter().filter(|(of, _)| *of == which);
            let mut journals: Vec<&Journal> = buried.map(|(_, journal)| journal).collect();
            match which {
                Which::Plugin => journals.extend(self.plugin.process.iter().map(|shell| &shell.journal)),
                Which::Mps => journals.extend(self.mps.process.iter().map(|shell| &shell.journal)),
            }
            let count = journals.len();
            for (index, journal) in journals.into_iter().enumerate() {
                let age = count - 1 - index;
                let name = if age == 0 { format!("{base}.jsonl") } else { format!("{base}.{age}.jsonl") };
                all.push((name, journal));
            }
        }
        all
    }

    /// Whether no program of the plugin runs or is about to.
    pub(super) fn has_ended(&self) -> bool {
        let absent = super::program::State::Absent;
        self.plugin.process.is_none()
            && self.mps.process.is_none()
            && self.plugin.state == absent
            && self.mps.state == absent
    }

    /// Compute modes that are not what they were at first, control daemons, and sockets that still lie about.
    pub(super) fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let name = &self.name;
        if let Some(gpus) = &self.host.gpus {
            for gpu in gpus.gpus().iter().filter(|gpu| gpu.mode() != gpu.mode_original()) {
                let (now, first) = (gpu.mode(), gpu.mode_original());
                let index = gpu.index;
                leaks.push(format!(
                    "compute mode {now:?} on GPU {index} of node `{name}`, which was {first:?}"
                ));
            }
            // those of nobody are the story's own
            let left = gpus.processes().iter().filter(|process| !is_uninvited(process.pid));
            leaks.extend(left.map(|process| {
                format!("process {} `{}` on GPU {} of node `{name}`", process.pid, process.name, process.gpu)
            }));
            leaks.extend(gpus.mps_daemons().iter().map(|daemon| {
                let (pid, directory) = (daemon.pid, daemon.pipe_directory);
                format!("MPS control daemon {pid} of node `{name}` on `{directory}`")
            }));
        }
        let sockets = self.host.sockets.keys();
        leaks.extend(sockets.map(|socket| format!("socket `{socket}` of node `{name}`")));
        let cut = self.all_journals();
        let cut = cut.iter().filter(|(_, journal)| journal.left_out() > 0);
        leaks.extend(cut.map(|(file, journal)| {
            let lines = journal.left_out();
            format!("{lines} lines that did not fit into `{file}` of node `{name}`")
        }));
        leaks
    }
}
