//! The closed lists of what can happen to the MPS supervisor and what its shell may be asked to do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Actual, Daemons, Desired, DesiredDaemon, OriginalModes};
use crate::inventory::{ComputeMode, GpuUuid};

/// Something that happened to the supervisor. `gpu` names a daemon by the first GPU that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SupervisorEvent {
    /// The process is up; always first.
    Started {
        /// Modes written down by an earlier run that did not give them back.
        originals: OriginalModes,
        /// Whether compute modes may be changed (`--keep-compute-mode` says no).
        change_modes: bool,
        /// Daemons that an earlier run may have left running.
        #[serde(default)]
        daemons: Daemons,
        /// Those of them whose process lives.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        alive: BTreeSet<GpuUuid>,
    },
    /// What the plugin wants now. Until the first one nothing is done.
    DesiredRead {
        /// Content of `desired.json`; the default where there is none.
        desired: Desired,
    },
    /// What a configuration file asks for that was given to the supervisor itself. It counts as long as no plugin of ours
    /// has said what it wants.
    AloneRead {
        /// Its generation means nothing.
        desired: Desired,
    },
    /// Answer to `SetMode`: done; the mode before it.
    ModeSet {
        /// The GPU.
        gpu: GpuUuid,
    },
    /// Answer to `ReadMode`.
    ModeRead {
        /// The GPU.
        gpu: GpuUuid,
        /// Its mode now.
        mode: ComputeMode,
    },
    /// Answer to `ReadMode` or `SetMode`: NVML refused.
    ModeFailed {
        /// The GPU.
        gpu: GpuUuid,
        /// NVML's message.
        why: String,
    },
    /// Answer to `ReadMode` or `SetMode`: NVML has not returned in its time. What it does later changes nothing.
    ModeStuck {
        /// The GPU.
        gpu: GpuUuid,
        /// The call and how long it was waited for.
        why: String,
    },
    /// Answer to `StartDaemon`: it answers and its limits are set.
    DaemonReady {
        /// The GPU.
        gpu: GpuUuid,
    },
    /// Answer to `StartDaemon`.
    DaemonFailed {
        /// The GPU.
        gpu: GpuUuid,
        /// What failed.
        why: String,
    },
    /// A daemon that was ready is gone.
    DaemonExited {
        /// The GPU.
        gpu: GpuUuid,
    },
    /// A ready daemon was looked at, and it is not as it was at the last look.
    DaemonLooked {
        /// The GPU.
        gpu: GpuUuid,
        /// Why it takes no new clients; nothing when it does.
        ill: Option<String>,
    },
    /// Answer to `StopDaemon`: it is gone.
    DaemonStopped {
        /// The GPU.
        gpu: GpuUuid,
    },
    /// Answer to `StopDaemon`: it may still run.
    DaemonStayed {
        /// The GPU.
        gpu: GpuUuid,
        /// What failed.
        why: String,
    },
    /// The time asked for has come.
    Timeout,
    /// SIGTERM or SIGINT: give everything back, then exit.
    StopRequested,
}

/// Something to be done by the supervisor's shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum SupervisorAction {
    /// Tell the GPU's compute mode. Answered by `ModeRead` or `ModeFailed`.
    ReadMode {
        /// The GPU.
        gpu: GpuUuid,
    },
    /// Write these down durably before any later action.
    PersistOriginals {
        /// All of them; replaces the file.
        originals: OriginalModes,
    },
    /// Write down durably, before any later action, which daemons may run: a run that comes after this one stops those that
    /// nobody wants.
    PersistDaemons {
        /// All of them; replaces the file.
        daemons: Daemons,
    },
    /// Change the compute mode. Answered by `ModeSet` or `ModeFailed`.
    SetMode {
        /// The GPU.
        gpu: GpuUuid,
        /// The new mode.
        mode: ComputeMode,
    },
    /// Make sure that a control daemon serves these GPUs alone, with these limits: one that already answers is adopted and
    /// given its limits again. Answered by `DaemonReady` or `DaemonFailed`.
    StartDaemon {
        /// The GPU.
        gpu: GpuUuid,
        /// Directory, limits.
        daemon: DesiredDaemon,
    },
    /// Make it quit. Answered by `DaemonStopped`, also when it was not there, or by `DaemonStayed`.
    StopDaemon {
        /// The GPU.
        gpu: GpuUuid,
        /// Its directory.
        daemon: DesiredDaemon,
    },
    /// Replace `actual.json` atomically.
    WriteActual {
        /// Its content.
        actual: Actual,
    },
    /// End the process.
    Exit {
        /// The one line that says why.
        why: String,
    },
}
