//! The driver's files for MIG below a node's driver root: the list of all capability numbers, and the device nodes of
//! those that exist now.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use fake_gpu::{NodeFile, mig_minors_file};

use super::layout::NodeLayout;
use super::node::Node;
use super::refused;
use crate::on::{Done, StageError, mig};

/// The list, below the driver root.
const MINORS: &str = "proc/driver/nvidia-caps/mig-minors";
/// The directory of the device nodes, and how their names begin.
const NODES: &str = "dev/nvidia-caps";
const NODE_PREFIX: &str = "nvidia-cap";

/// Writes the list and makes the device nodes.
///
/// # Errors
/// What the file system says.
pub(super) fn install(state: &NodeFile, layout: &NodeLayout) -> Result<(), StageError> {
    let list = layout.driver_root.join(MINORS);
    let nodes = layout.driver_root.join(NODES);
    for directory in [list.parent().unwrap_or(&list), &nodes] {
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    }
    std::fs::write(&list, mig_minors_file()).map_err(|error| failed(&list, error))?;
    show(state, layout)
}

/// Makes the device nodes that are missing and takes those away whose instances are gone.
///
/// # Errors
/// What the file system says, or the GPUs' state cannot be read.
pub(super) fn show(state: &NodeFile, layout: &NodeLayout) -> Result<(), StageError> {
    let minors = state.read(fake_gpu::Node::capability_minors);
    let minors = minors.map_err(|error| refused("read the GPUs' state", &error))?;
    let wanted: BTreeSet<String> = minors.iter().map(|minor| format!("{NODE_PREFIX}{minor}")).collect();
    let directory = layout.driver_root.join(NODES);
    let there = names(&directory).map_err(|error| failed(&directory, error))?;
    for name in there.difference(&wanted) {
        let path = directory.join(name);
        std::fs::remove_file(&path).map_err(|error| failed(&path, error))?;
    }
    for name in wanted.difference(&there) {
        let path = directory.join(name);
        // a character device that anybody may make a link to
        std::os::unix::fs::symlink("/dev/null", &path).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn failed(path: &Path, error: io::Error) -> StageError {
    StageError::File { what: "make", path: path.to_owned(), error }
}

impl Node {
    /// The device nodes follow what the GPUs are cut into now.
    ///
    /// # Errors
    /// As [`show`].
    pub(super) fn show_capabilities(&self) -> Result<(), StageError> {
        self.driver.as_ref().map_or(Ok(()), |driver| show(driver.state(), &self.layout))
    }

    /// Cuts a GPU anew.
    ///
    /// # Errors
    /// No driver, no such GPU, it is in use, or it cannot be cut so.
    pub(super) fn lay_out_mig(&mut self, gpu: u32, layout: Option<&[String]>) -> Result<Done, StageError> {
        let what = format!("cut GPU {gpu} of node `{}` into MIG devices", self.name);
        let state = self.driver_state(&what)?;
        state.change(|gpus| mig::lay_out(gpus, gpu, layout)).map_err(|error| refused(what, &error))?;
        self.show_capabilities()?;
        Ok(Done::Did)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_nodes_come_and_go_with_the_mig_devices() {
        let temporary = tempfile::tempdir().unwrap();
        let layout = NodeLayout::create(temporary.path(), &temporary.path().join("run"), "gpu-1").unwrap();
        let spec = fake_gpu::NodeSpec::uniform("gpu-1", "a100-sxm4-40gb", 2);
        let state = NodeFile::create(&layout.gpus, &spec).unwrap();
        install(&state, &layout).unwrap();
        let there = || names(&layout.driver_root.join(NODES)).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(there(), ["nvidia-cap1", "nvidia-cap2"]);
        let cut = |layout: &[&str]| {
            let layout: Vec<String> = layout.iter().map(|name| (*name).to_owned()).collect();
            state.change(|gpus| gpus.lay_out_mig(1, &layout)).unwrap();
        };
        cut(&["3g.20gb", "1g.5gb"]);
        show(&state, &layout).unwrap();
        let expected = [
            "nvidia-cap1",
            "nvidia-cap156",
            "nvidia-cap157",
            "nvidia-cap2",
            "nvidia-cap201",
            "nvidia-cap202",
        ];
        assert_eq!(there(), expected);
        cut(&["1g.5gb:0"]);
        show(&state, &layout).unwrap();
        assert_eq!(there(), ["nvidia-cap1", "nvidia-cap2", "nvidia-cap201", "nvidia-cap202"]);
        let list = std::fs::read_to_string(layout.driver_root.join(MINORS)).unwrap();
        assert!(list.contains("\ngpu1/gi7/access 201\ngpu1/gi7/ci0/access 202\n"));
    }
}
