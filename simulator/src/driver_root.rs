//! A fake driver as a directory, because a container or a node of kind has no driver and gets one as a mount: the library,
//! the state that all its processes share beside it, the control program of MPS, and nvidia-smi.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fake_gpu::{NodeFile, NodeSpec, STATE_FILE_NAME};

use crate::cli::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_PASSED};
use crate::on::wire::Binaries;

/// Where the library and the state are, below the root.
const LIBRARIES: &str = "usr/lib64";
/// Where programs are.
const PROGRAMS: &str = "usr/bin";
/// The library as programs look for it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// The control program of MPS.
const CONTROL: &str = "nvidia-cuda-mps-control";
/// The program that sets time slices.
const SMI: &str = "nvidia-smi";
/// The most GPUs of a node.
const GPUS_MAX: u32 = 64;

/// Flags of `driver-root`.
#[derive(Debug, Args)]
pub struct DriverRootArgs {
    /// The directory; what is there already is not changed, and then nothing is made
    directory: PathBuf,
    /// The node's name: GPUs of different nodes have different UUIDs
    #[arg(long, value_name = "NAME")]
    node: String,
    /// What its GPUs are
    #[arg(long, value_name = "BOARD", default_value = "tesla-t4")]
    board: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(GPUS_MAX)))]
    count: u32,
}

/// Makes a driver root; returns the exit code.
pub fn driver_root_command(args: &DriverRootArgs) -> u8 {
    let boards = crate::boards::names();
    if !boards.contains(&args.board) {
        eprintln!("tandem-sim: no board `{}`; there are `{}`", args.board, boards.join("`, `"));
        return EXIT_BAD_INPUT;
    }
    let spec = NodeSpec::uniform(&args.node, &args.board, args.count as usize);
    let made = Binaries::find_or_build()
        .map_err(|error| error.to_string())
        .and_then(|binaries| make(&args.directory, &spec, &binaries));
    match made {
        Ok(()) => {
            println!("{}: {} × {}", args.directory.display(), args.count, args.board);
            EXIT_PASSED
        }
        Err(error) => {
            eprintln!("tandem-sim: {error}");
            EXIT_FAILED
        }
    }
}

/// GPUs first, then the library: who sees the library sees GPUs.
fn make(root: &Path, spec: &NodeSpec, binaries: &Binaries) -> Result<(), String> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| format!("cannot make `{}`: {error}", path.display());
    let (libraries, programs) = (root.join(LIBRARIES), root.join(PROGRAMS));
    for directory in [&libraries, &programs] {
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    }
    let state = libraries.join(STATE_FILE_NAME);
    drop(NodeFile::create(&state, spec).map_err(|error| failed(&state, &error))?);
    // whoever a container's user is, its processes share it
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o666))
        .map_err(|error| failed(&state, &error))?;
    let files = [
        (&binaries.mps_control, programs.join(CONTROL)),
        (&binaries.nvidia_smi, programs.join(SMI)),
        (&binaries.nvml, libraries.join(LIBRARY)),
    ];
    for (from, to) in files {
        std::fs::copy(from, &to).map_err(|error| failed(&to, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_holds_gpus_library_and_control_program_and_is_made_once() {
        let temporary = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = temporary.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let binaries = Binaries {
            plugin: file("plugin"),
            nvml: file("nvml"),
            mps_control: file("control"),
            nvidia_smi: file("smi"),
            example: file("example"),
        };
        let root = temporary.path().join("root");
        let spec = NodeSpec::uniform("gpu-1", "tesla-t4", 3);
        make(&root, &spec, &binaries).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("usr/lib64/libnvidia-ml.so.1")).unwrap(), "nvml");
        assert_eq!(std::fs::read_to_string(root.join("usr/bin/nvidia-cuda-mps-control")).unwrap(), "control");
        assert_eq!(std::fs::read_to_string(root.join("usr/bin/nvidia-smi")).unwrap(), "smi");
        let gpus = NodeFile::open(&root.join("usr/lib64/fake-gpu.state")).unwrap().snapshot().unwrap().gpus;
        assert_eq!(gpus.len(), 3);
        let why = make(&root, &spec, &binaries).unwrap_err();
        assert!(why.contains("fake-gpu.state"), "{why}");
    }
}
