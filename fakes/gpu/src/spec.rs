//! What a node is made of, and how a fresh node is built from that.

use crate::board::BoardRecord;
use crate::error::GpuError;
use crate::nvlink::Wiring;
use crate::profile::{BoardProfile, ProfileError};
use crate::record::{DAEMONS_MAX, EVENTS_MAX, Event, GPUS_MAX, Gpu, MpsDaemon, Node, PROCESSES_MAX, Process};
use crate::text::Text;

/// Driver of a node that names none.
const DRIVER_VERSION: &str = "595.91.07";
/// CUDA version of a node that names none.
const CUDA_VERSION: &str = "13.2";

/// A node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name of the node; GPU UUIDs follow from it.
    pub name: String,
    /// Driver version, like `595.91.07`.
    pub driver_version: String,
    /// CUDA version, like `13.2`.
    pub cuda_version: String,
    /// Its GPUs, in NVML's order.
    pub gpus: Vec<GpuSpec>,
    /// How their NVLinks are connected; as usual for the board when absent.
    pub wiring: Option<Wiring>,
}

/// A GPU to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSpec {
    /// Name of a board profile, one of [`crate::profile_names`].
    pub profile: String,
    /// NUMA node it hangs on, if the machine has NUMA.
    pub numa_node: Option<u32>,
    /// With MIG mode on: the MIG devices it is cut into, such as `1g.5gb`; without: none.
    pub mig: Option<Vec<String>>,
}

/// Why a node cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A GPU's board.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// More GPUs than the model holds.
    #[error("node `{node}` has too many GPUs: {count}, at most {GPUS_MAX}")]
    TooManyGpus {
        /// The node.
        node: String,
        /// GPUs asked for.
        count: usize,
    },
    /// MIG as asked is not possible.
    #[error("node `{node}`: {why}")]
    Mig {
        /// The node.
        node: String,
        /// Why.
        why: GpuError,
    },
    /// Links that a board does not have.
    #[error("the GPUs of node `{node}` cannot be linked: the board has no NVLink: `{board}`")]
    NoNvLink {
        /// The node.
        node: String,
        /// The board's product name.
        board: String,
    },
    /// Not `major.minor`.
    #[error("CUDA version of node `{node}` is not `major.minor`: `{version}`")]
    CudaVersion {
        /// The node.
        node: String,
        /// What was given.
        version: String,
    },
}

impl NodeSpec {
    /// `count` equal GPUs without NUMA, with a current driver.
    pub fn uniform(name: &str, profile: &str, count: usize) -> Self {
        Self {
            name: name.to_owned(),
            driver_version: DRIVER_VERSION.to_owned(),
            cuda_version: CUDA_VERSION.to_owned(),
            gpus: vec![GpuSpec { profile: profile.to_owned(), numa_node: None, mig: None }; count],
            wiring: None,
        }
    }
}

impl Node {
    /// A fresh node: driver loaded, GPUs healthy and idle, compute mode default.
    ///
    /// # Errors
    /// Unknown profile, too many GPUs, or an unreadable CUDA version, or an impossible MIG layout.
    pub fn new(spec: &NodeSpec) -> Result<Box<Self>, SpecError> {
        if spec.gpus.len() > GPUS_MAX {
            return Err(SpecError::TooManyGpus { node: spec.name.clone(), count: spec.gpus.len() });
        }
        let cuda_version = cuda_number(&spec.cuda_version).ok_or_else(|| SpecError::CudaVersion {
            node: spec.name.clone(),
            version: spec.cuda_version.clone(),
        })?;
        let mut node = Box::new(Self {
            name: Text::new(&spec.name),
            driver_version: Text::new(&spec.driver_version),
            cuda_version,
            driver_loaded: 1,
            gpu_count: 0,
            process_count: 0,
            daemon_count: 0,
            unplugged_count: 0,
            nvml_error: 0,
            nvml_delay_ms: 0,
            nvml_hangs: 0,
            fabric_starting: 0,
            mps_control: 0,
            smi: 0,
            event_next: 0,
            gpus: [Gpu::EMPTY; GPUS_MAX],
            processes: [Process::EMPTY; PROCESSES_MAX],
            daemons: [MpsDaemon::EMPTY; DAEMONS_MAX],
            events: [Event::EMPTY; EVENTS_MAX],
        });
        for (index, gpu) in (0_u32..).zip(&spec.gpus) {
            let (number, profile) = BoardProfile::shipped(&gpu.profile)?;
            let board = BoardRecord::new(number, profile);
            node.gpus[index as usize] = fresh_gpu(&spec.name, index, gpu.numa_node, board);
            node.gpu_count = index + 1;
            if let Some(layout) = &gpu.mig {
                let laid_out = node.lay_out_mig(index, layout);
                laid_out.map_err(|why| SpecError::Mig { node: spec.name.clone(), why })?;
            }
        }
        let wired = matches!(spec.wiring, Some(Wiring::Pairs | Wiring::Switch));
        if let Some(bare) = node.gpus().iter().find(|gpu| wired && gpu.board.nvlinks == 0) {
            let board = bare.board.name.as_str().to_owned();
            return Err(SpecError::NoNvLink { node: spec.name.clone(), board });
        }
        node.wire(spec.wiring);
        Ok(node)
    }
}

fn fresh_gpu(node: &str, index: u32, numa_node: Option<u32>, board: BoardRecord) -> Gpu {
    /// First PCI bus with a GPU, and the distance to the next: 64 GPUs fit in one domain.
    const BUS_FIRST: u32 = 0x1E;
    const BUS_STEP: u32 = 3;
    let identity = identity(node, index);
    Gpu {
        index,
        minor: index,
        numa_node: numa_node.and_then(|numa| i32::try_from(numa).ok()).unwrap_or(-1),
        pci_bus: BUS_FIRST + index * BUS_STEP,
        uuid: Text::new(&format!("GPU-{}", uuid(identity))),
        serial: Text::new(&format!("165{:010}", identity % 10_000_000_000)),
        board,
        ..Gpu::EMPTY
    }
}

/// 128 bits that follow from a name and a number (FNV-1a, then mixed): the node's and the GPU's index, or the GPU's UUID
/// and the instances of a MIG device.
pub(crate) fn identity(node: &str, index: u32) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = node.bytes().chain([0]).chain(index.to_le_bytes());
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    let mixed = (hash ^ (hash >> 64)).wrapping_mul(PRIME ^ OFFSET);
    mixed ^ (mixed >> 61)
}

/// 128 bits as a UUID is written.
pub(crate) fn uuid(identity: u128) -> String {
    let hex = format!("{identity:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// `13.2` is 13020, as NVML counts.
fn cuda_number(version: &str) -> Option<u32> {
    let (major, minor) = version.split_once('.')?;
    let (major, minor) = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
    (major < 1000 && minor < 100).then_some(major * 1000 + minor * 10)
}
