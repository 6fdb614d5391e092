//! The faults of GPUs and their driver as changes of the fake driver's state, which is the same on all stages.

use fake_gpu::{ControlTrouble, EventKind, GpuError, Node, Text, VERSION_MISMATCH};

use crate::faults::Fault;

/// How a fault of the driver ends by itself. A GPU is named by its UUID: indexes move when another one is pulled out.
#[derive(Debug, Clone)]
pub(in crate::on) enum Ending {
    /// A GPU is back on its bus.
    GpuLost(Text<48>),
    /// A GPU is put back.
    Unplugged(Text<48>),
    /// NVML calls about a GPU, or all, succeed again.
    NvmlError(Option<Text<48>>),
    /// NVML calls are quick again.
    NvmlSlow,
    /// NVML calls return again.
    NvmlHang,
    /// NVML calls about a GPU return again.
    GpuHang(Text<48>),
    /// The next driver is there.
    DriverUpgrade,
    /// The driver's device nodes are there.
    LateDeviceNodes,
    /// The fabric is ready.
    Fabric,
    /// The MPS servers of a GPU take clients again.
    MpsFault(Text<48>),
    /// The MPS control program does what it should.
    MpsControl,
    /// A process that belongs to no pod ends.
    Uninvited(u32),
    /// NVML tells again which processes are on a GPU.
    Processes(Text<48>),
    /// nvidia-smi does.
    NvidiaSmi,
}

/// Whether a fault is one of the driver's.
pub(in crate::on) fn is_drivers(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::GpuLost { .. }
            | Fault::GpuUnplugged { .. }
            | Fault::Xid { .. }
            | Fault::EccError { .. }
            | Fault::NvmlError { .. }
            | Fault::NvmlSlow { .. }
            | Fault::NvmlHang
            | Fault::GpuHang { .. }
            | Fault::DriverUpgrade
            | Fault::LateDeviceNodes
            | Fault::FabricNotReady
            | Fault::MpsFault { .. }
            | Fault::MpsControlHang
            | Fault::MpsControlGarbage
            | Fault::MpsControlFails
            | Fault::MpsControlMissing
            | Fault::UninvitedProcess { .. }
            | Fault::ProcessesUnreadable { .. }
            | Fault::NvidiaSmiMissing
            | Fault::NvidiaSmiHang
            | Fault::NvidiaSmiFails
    )
}

/// Whether a fault without a duration is for good.
pub(in crate::on) fn is_for_good(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::GpuLost { .. }
            | Fault::GpuUnplugged { .. }
            | Fault::NvmlHang
            | Fault::GpuHang { .. }
            | Fault::UninvitedProcess { .. }
    )
}

/// Changes the driver's state; the answer is how that ends, if it does. What is no fault of a driver changes nothing.
///
/// # Errors
/// No such GPU, or no process may start on it.
pub(in crate::on) fn happen(gpus: &mut Node, fault: Fault) -> Result<Option<Ending>, GpuError> {
    Ok(match fault {
        Fault::GpuLost { gpu } => {
            gpus.set_lost(gpu, true)?;
            Some(Ending::GpuLost(gpus.gpu(gpu)?.uuid))
        }
        Fault::GpuUnplugged { gpu } => {
            let uuid = gpus.unplug(gpu)?;
            Some(Ending::Unplugged(uuid))
        }
        Fault::Xid { gpu, code } => {
            gpus.raise_xid(gpu, u64::from(code))?;
            None
        }
        Fault::EccError { gpu } => {
            gpus.raise_event(gpu, EventKind::DoubleBitEcc, 0)?;
            None
        }
        Fault::NvmlError { gpu, code } => {
            gpus.set_nvml_error(gpu, code)?;
            Some(Ending::NvmlError(gpu.map(|gpu| gpus.gpu(gpu).map(|gpu| gpu.uuid)).transpose()?))
        }
        Fault::NvmlSlow { delay } => {
            gpus.nvml_delay_ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
            Some(Ending::NvmlSlow)
        }
        Fault::NvmlHang => {
            gpus.nvml_hangs = 1;
            Some(Ending::NvmlHang)
        }
        Fault::GpuHang { gpu } => {
            gpus.set_nvml_hangs(gpu, true)?;
            Some(Ending::GpuHang(gpus.gpu(gpu)?.uuid))
        }
        Fault::DriverUpgrade => {
            gpus.set_nvml_error(None, VERSION_MISMATCH)?;
            Some(Ending::DriverUpgrade)
        }
        Fault::LateDeviceNodes => {
            gpus.set_driver_loaded(false);
            Some(Ending::LateDeviceNodes)
        }
        Fault::MpsFault { gpu } => {
            gpus.set_mps_fault(gpu, true)?;
            Some(Ending::MpsFault(gpus.gpu(gpu)?.uuid))
        }
        Fault::MpsControlHang => trouble(gpus, ControlTrouble::Hangs),
        Fault::MpsControlGarbage => trouble(gpus, ControlTrouble::Garbage),
        Fault::MpsControlFails => trouble(gpus, ControlTrouble::Fails),
        Fault::MpsControlMissing => trouble(gpus, ControlTrouble::Missing),
        Fault::NvidiaSmiMissing => smi_trouble(gpus, ControlTrouble::Missing),
        Fault::NvidiaSmiHang => smi_trouble(gpus, ControlTrouble::Hangs),
        Fault::NvidiaSmiFails => smi_trouble(gpus, ControlTrouble::Fails),
        Fault::FabricNotReady => {
            gpus.fabric_starting = 1;
            Some(Ending::Fabric)
        }
        Fault::UninvitedProcess { gpu } => Some(Ending::Uninvited(gpus.start_uninvited(gpu)?)),
        Fault::ProcessesUnreadable { gpu, code } => {
            gpus.set_processes_error(gpu, code)?;
            Some(Ending::Processes(gpus.gpu(gpu)?.uuid))
        }
        _ => None,
    })
}

fn trouble(gpus: &mut Node, trouble: ControlTrouble) -> Option<Ending> {
    gpus.set_control_trouble(Some(trouble));
    Some(Ending::MpsControl)
}

fn smi_trouble(gpus: &mut Node, trouble: ControlTrouble) -> Option<Ending> {
    gpus.set_smi_trouble(Some(trouble));
    Some(Ending::NvidiaSmi)
}

/// Undoes what [`happen`] did. A GPU that was pulled out meanwhile is well when it is put back.
///
/// # Errors
/// The GPU cannot be put back.
pub(in crate::on) fn recover(gpus: &mut Node, ending: &Ending) -> Result<(), GpuError> {
    let index = |gpus: &Node, uuid: &Text<48>| gpus.gpu_by_uuid(uuid.as_str()).map(|gpu| gpu.index);
    match ending {
        Ending::GpuLost(uuid) => index(gpus, uuid).map_or(Ok(()), |gpu| gpus.set_lost(gpu, false))?,
        Ending::Unplugged(uuid) => {
            let gpu = gpus.replug(uuid.as_str())?;
            gpus.set_mps_fault(gpu, false)?;
        }
        Ending::NvmlError(None) => gpus.set_nvml_error(None, 0)?,
        Ending::NvmlError(Some(uuid)) => {
            index(gpus, uuid).map_or(Ok(()), |gpu| gpus.set_nvml_error(Some(gpu), 0))?;
        }
        Ending::NvmlSlow => gpus.nvml_delay_ms = 0,
        Ending::NvmlHang => gpus.nvml_hangs = 0,
        Ending::GpuHang(uuid) => {
            index(gpus, uuid).map_or(Ok(()), |gpu| gpus.set_nvml_hangs(gpu, false))?;
        }
        Ending::DriverUpgrade => {
            gpus.upgrade_driver();
            gpus.set_nvml_error(None, 0)?;
        }
        Ending::LateDeviceNodes => gpus.set_driver_loaded(true),
        Ending::Fabric => gpus.fabric_starting = 0,
        Ending::MpsFault(uuid) => {
            index(gpus, uuid).map_or(Ok(()), |gpu| gpus.set_mps_fault(gpu, false))?;
        }
        Ending::MpsControl => gpus.set_control_trouble(None),
        Ending::Uninvited(pid) => {
            // it may have ended with its GPU or its machine
            gpus.stop_process(*pid);
        }
        Ending::Processes(uuid) => {
            index(gpus, uuid).map_or(Ok(()), |gpu| gpus.set_processes_error(gpu, 0))?;
        }
        Ending::NvidiaSmi => gpus.set_smi_trouble(None),
    }
    Ok(())
}
