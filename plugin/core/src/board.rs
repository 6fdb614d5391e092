//! Boards that a configuration can be tried on without having one: what `validate --node` knows of them.
//!
//! Names, memory and compute capability are those that NVML reports for the board (captures of `nvidia-smi -q` with the
//! drivers 570 to 595).

use thiserror::Error;

use crate::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};

/// Most GPUs of one node, as many as NVML can enumerate on real machines and some more.
pub const BOARD_COUNT_MAX: u32 = 64;
/// GPUs of a node whose number is not given.
const COUNT_DEFAULT: u32 = 1;
/// The driver that such a node has.
const DRIVER_VERSION: &str = "580.105.08";
/// Its CUDA version.
const CUDA_VERSION: (u32, u32) = (13, 0);

/// A board.
struct Board {
    profile: &'static str,
    name: &'static str,
    memory_mib: u64,
    compute_capability: (u32, u32),
    mig_capable: bool,
}

const fn board(
    profile: &'static str,
    name: &'static str,
    memory_mib: u64,
    compute_capability: (u32, u32),
    mig_capable: bool,
) -> Board {
    Board { profile, name, memory_mib, compute_capability, mig_capable }
}

const BOARDS: [Board; 4] = [
    board("a100-sxm4-40gb", "NVIDIA A100-SXM4-40GB", 40_960, (8, 0), true),
    board("h100-80gb-hbm3", "NVIDIA H100 80GB HBM3", 81_559, (9, 0), true),
    board("l40s", "NVIDIA L40S", 46_068, (8, 9), false),
    board("tesla-t4", "Tesla T4", 15_360, (7, 5), false),
];

/// A node that cannot be imagined.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BoardError {
    /// No such board.
    #[error("there is no board `{profile}` (hint: one of {})", profiles().join(", "))]
    Unknown {
        /// What was asked for.
        profile: String,
    },
    /// No such number of GPUs.
    #[error(
        "a node has from 1 to {BOARD_COUNT_MAX} GPUs, but `{count}` were asked for (hint: for example 8*tesla-t4)"
    )]
    Count {
        /// What was asked for.
        count: String,
    },
}

/// The boards' names.
pub fn profiles() -> Vec<&'static str> {
    BOARDS.iter().map(|board| board.profile).collect()
}

/// The facts of a node: `tesla-t4` has one, `8*tesla-t4` has eight, `2*l40s,2*tesla-t4` has both kinds.
///
/// # Errors
/// See [`BoardError`].
pub fn node(text: &str) -> Result<Facts, BoardError> {
    let mut gpus = Vec::new();
    for part in text.split(',') {
        let (count, profile) = match part.trim().split_once('*') {
            Some((count, profile)) => (number(count.trim())?, profile.trim()),
            None => (COUNT_DEFAULT, part.trim()),
        };
        let board = BOARDS.iter().find(|board| board.profile == profile);
        let board = board.ok_or_else(|| BoardError::Unknown { profile: profile.to_owned() })?;
        for index in (0_u32..).skip(gpus.len()).take(count as usize) {
            gpus.push(gpu(board, index));
        }
    }
    if gpus.len() > BOARD_COUNT_MAX as usize {
        return Err(BoardError::Count { count: gpus.len().to_string() });
    }
    let control_nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"];
    Ok(Facts {
        driver_version: DRIVER_VERSION.to_owned(),
        cuda_version: CUDA_VERSION,
        gpus,
        links: Vec::new(),
        control_nodes: control_nodes.map(str::to_owned).to_vec(),
        ..Facts::default()
    })
}

fn number(text: &str) -> Result<u32, BoardError> {
    let count = text.parse().ok().filter(|count| (1..=BOARD_COUNT_MAX).contains(count));
    count.ok_or_else(|| BoardError::Count { count: text.to_owned() })
}

fn gpu(board: &Board, index: u32) -> GpuFacts {
    GpuFacts {
        uuid: GpuUuid::new(format!("GPU-{index:08x}-0000-0000-0000-000000000000")),
        index,
        minor: index,
        name: board.name.to_owned(),
        memory_bytes: board.memory_mib << 20,
        compute_capability: board.compute_capability,
        pci_bus_id: format!("00000000:{:02X}:00.0", index + 1),
        numa_node: None,
        mig_capable: board.mig_capable,
        compute_mode: ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_written_as_counts_of_boards() {
        let names = |text| -> Vec<String> { node(text).unwrap().gpus.into_iter().map(|g| g.name).collect() };
        assert_eq!(names("tesla-t4"), ["Tesla T4"]);
        assert_eq!(names("2*l40s, tesla-t4"), ["NVIDIA L40S", "NVIDIA L40S", "Tesla T4"]);
        let eight = node("8*h100-80gb-hbm3").unwrap();
        assert_eq!(eight.by_uuid().len(), 8, "each has its own UUID");
        assert_eq!(eight.gpus[7].index, 7);
    }

    #[test]
    fn what_is_no_node_is_named_with_the_choices() {
        let told = |text| node(text).unwrap_err().to_string();
        assert!(told("t4").contains("`t4`") && told("t4").contains("tesla-t4"), "{}", told("t4"));
        for text in ["0*l40s", "65*l40s", "x*l40s", "-1*l40s", "40*l40s,40*l40s"] {
            assert!(told(text).contains("from 1 to 64"), "{text}: {}", told(text));
        }
        assert!(told("").contains("no board ``"), "{}", told(""));
    }
}
